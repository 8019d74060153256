"""Questions put to a model as it is, trained or not: every answer exact, many questions on one prefill."""
