"""All registries of the package. One line adds a thing; third parties call `register` on the same objects.

Example:
    >>> from predgen.registries import losses
    >>> losses.register("mean", "my_package.losses:MeanLoss", "arithmetic mean of both losses")  # doctest: +SKIP
"""

from collections.abc import Iterable, Mapping
from typing import Any

from predgen.lookup import Registry

# Facts of a method: `writes`: it writes answers, with a codec. `headless`: it predicts by what it writes alone, so it can be asked
# untrained, and left to write freely. `form`: form of the rows (`TaskSpec.form`), "paper" unless given. `codec`: its codec, where
# this is not the one of the kind of task.
methods = Registry("method")
methods.register("predictor", "predgen.models.predictor:Predictor", "pooled prompt state + linear head", facts={"writes": False}, settings="predgen.models.settings:PredictorSettings")
methods.register("generator", "predgen.models.generator:Generator", "writes the answer; constrained decoding", facts={"writes": True, "headless": True}, settings="predgen.models.settings:WriterSettings")
methods.register("predgen", "predgen.models.predgen:PredGen", "writes the answer; a director reads the written tokens' states", facts={"writes": True}, settings="predgen.models.settings:PredGenSettings")
methods.register("options", "predgen.models.options:Options", "multiple choice: scores the text of each option, and chooses the likeliest", facts={"writes": True, "headless": True, "form": "cloze", "codec": "option"}, settings="predgen.models.settings:WriterSettings")

directors = Registry("director")
directors.register("linear", "predgen.directors.linear:LinearDirector", "classes: Linear(H, K) on the mean content state")
directors.register("value", "predgen.directors.value:ValueDirector", "numbers: Linear(H, 1) on the mean content state, squared error")
directors.register("ordered", "predgen.directors.ordered:OrderedDirector", "numbers: token cross-entropy, earlier digits weigh more; no head", settings="predgen.directors.settings:OrderedSettings")
directors.register("expected", "predgen.directors.expected:ExpectedDirector", "numbers: squared error of the mean of P(a|X); no head")
directors.register("residual", "predgen.directors.residual:ResidualDirector", "classes, numbers: P(a|X), or its mean, corrected by the states at answer and prompt", settings="predgen.directors.settings:ResidualSettings")
directors.register("crps", "predgen.directors.crps:CrpsDirector", "numbers, ordinal classes: ranked probability score of P(a|X); no head")
directors.register("reward", "predgen.directors.reward:RewardDirector", "classes: expected cost of P(a|X), by a matrix of costs; no head", settings="predgen.directors.settings:RewardSettings")
directors.register("nll", "predgen.directors.nll:NllDirector", "classes, numbers: -log P(a|X) of the gold answer among legal ones; no head")

losses = Registry("loss")
losses.register("wdal", "predgen.losses.wdal:Wdal", "L_W * L_D, the paper's writer-director alignment loss", aliases=("multiplicative",))
losses.register("wdal_shifted", "predgen.losses.wdal_shifted:WdalShifted", "log((1+L_W)(1+L_D)) + (1+L_W)(1+L_D), what the authors' code computes")
losses.register("sum", "predgen.losses.sum:SumLoss", "L_W + L_D")
losses.register("adaptive", "predgen.losses.adaptive:AdaptiveLoss", "learned uncertainty weights (Kendall et al. 2018)")
losses.register("director_only", "predgen.losses.director_only:DirectorOnly", "L_D alone")

sampling = Registry("sampling mode")
sampling.register("off", "predgen.sampling.off:Off", "teacher forcing: gold tokens are fed")
sampling.register("sequence", "predgen.sampling.by_sequence:BySequence", "per row: the whole greedy answer, or gold", settings="predgen.sampling.settings:SampledSettings")
sampling.register("token", "predgen.sampling.by_token:ByToken", "per token, left to right: own token, or gold", settings="predgen.sampling.settings:SampledSettings")
sampling.register("marginal", "predgen.sampling.marginal:Marginal", "no sampling: the director averaged over P(a|X) of all answers")
sampling.register("parallel", "predgen.sampling.parallel:Parallel", "per token, in a few passes over the whole answer; for long free text", settings="predgen.sampling.settings:ParallelSettings")

schedules = Registry("sampling schedule")
schedules.register("linear", "predgen.sampling.schedule:linear", "p grows evenly")
schedules.register("exponential", "predgen.sampling.schedule:exponential", "gold share decays exponentially (Bengio et al. 2015)")
schedules.register("inverse_sigmoid", "predgen.sampling.schedule:inverse_sigmoid", "gold share follows an inverse sigmoid (Bengio et al. 2015)")

# Facts of a PEFT method: formula of the adapted layer (W is o x i, its output y) and trained numbers per layer.
peft_methods = Registry("PEFT method")
peft_methods.register("lora", "predgen.peft_methods.lora:LORA", "low-rank update of the linear layers", facts={"formula": "W + (alpha / r) B A", "count": "r (i + o)"}, settings="predgen.peft_methods.settings:LoraSettings")
peft_methods.register("adalora", "predgen.peft_methods.adalora:ADALORA", "SVD-form update whose rank budget is moved between layers", facts={"formula": "W + (alpha / k) B diag(E) A", "count": "k (i + o + 1), k = 1.5 r; pruned to r on average"}, settings="predgen.peft_methods.settings:LoraSettings")
peft_methods.register("rocoft", "predgen.peft_methods.rocoft:ROCOFT", "some columns or rows of the linear layers train", facts={"formula": "W[:, columns] + D, or W[rows] + D", "count": "r o, or r i"}, settings="predgen.peft_methods.settings:RocoftSettings")
peft_methods.register("dora", "predgen.peft_methods.dora:DORA", "LoRA with a learned magnitude per output row", facts={"formula": "m * (W + (alpha / r) B A) / |W + (alpha / r) B A|", "count": "r (i + o) + o"}, settings="predgen.peft_methods.settings:DoraSettings")
peft_methods.register("melora", "predgen.peft_methods.melora:MELORA", "small LoRAs, each on its share of inputs and outputs", facts={"formula": "W + (alpha / r) blockdiag(B_1 A_1, ..., B_n A_n)", "count": "r (i + o)"}, settings="predgen.peft_methods.settings:MeloraSettings")
peft_methods.register("lora_fa", "predgen.peft_methods.lora_fa:LORA_FA", "LoRA with A frozen", facts={"formula": "W + (alpha / r) B A, A fixed", "count": "r o"}, settings="predgen.peft_methods.settings:LoraFaSettings")
peft_methods.register("moslora", "predgen.peft_methods.moslora:MOSLORA", "LoRA with a trained mixer between its factors", facts={"formula": "W + (alpha / r) B M A", "count": "r (i + o) + r^2"}, settings="predgen.peft_methods.settings:MosloraSettings")
peft_methods.register("propulsion", "predgen.peft_methods.propulsion:PROPULSION", "a trained factor per output of the linear layers", facts={"formula": "z^k * y", "count": "o"}, settings="predgen.peft_methods.settings:PropulsionSettings")
peft_methods.register("none", "predgen.peft_methods.none:NONE", "the base stays frozen; only a head trains", facts={"formula": "W", "count": "0"})
peft_methods.register("full", "predgen.peft_methods.full:FULL", "every weight trains", facts={"formula": "W, trained", "count": "all"})

codecs = Registry("codec")
codecs.register("label", "predgen.codecs.label:LabelCodec", "class labels as token sequences")
codecs.register("number", "predgen.codecs.number:NumberCodec", "numbers, one token per character: fixed-width decimals, or significant digits with an exponent", settings="predgen.codecs.settings:NumberSettings")
codecs.register("option", "predgen.codecs.option:OptionCodec", "options of multiple choice, other texts in every row")
codecs.register("answer", "predgen.codecs.answer:AnswerCodec", "free rationale, a cue, then a number", settings="predgen.codecs.settings:AnswerSettings")

metrics = Registry("metric")
metrics.register("accuracy", "predgen.metrics.classification:ACCURACY", "share of right labels")
metrics.register("macro_f1", "predgen.metrics.classification:MACRO_F1", "F1, mean over classes")
metrics.register("log_loss", "predgen.metrics.classification:LOG_LOSS", "-mean log P(right label), nats", aliases=("nll",))
metrics.register("brier", "predgen.metrics.probabilities:BRIER", "squared distance of the probabilities to the truth, 0..2")
metrics.register("ece", "predgen.metrics.probabilities:ECE", "expected calibration error over 10 bins of equal width")
metrics.register("qwk", "predgen.metrics.probabilities:QWK", "quadratic weighted kappa of labels in class order")
metrics.register("aurc", "predgen.metrics.probabilities:AURC", "error averaged over all shares of most confident rows")
metrics.register("mse", "predgen.metrics.regression:MSE", "mean squared error")
metrics.register("rmse", "predgen.metrics.regression:RMSE", "root of the mean squared error")
metrics.register("mae", "predgen.metrics.regression:MAE", "mean absolute error")
metrics.register("pearson", "predgen.metrics.regression:PEARSON", "linear correlation")
metrics.register("spearman", "predgen.metrics.regression:SPEARMAN", "rank correlation")
metrics.register("r2", "predgen.metrics.regression:R2", "share of variance explained")
metrics.register("crps", "predgen.metrics.distributions:CRPS", "continuous ranked probability score of the numbers' distribution")
metrics.register("exact_match", "predgen.metrics.exact_match:EXACT_MATCH", "share of answers within 1e-4")

mi_estimators = Registry("mutual information estimator")
mi_estimators.register("mine", "predgen.analysis.estimators.mine:Mine", "Donsker-Varadhan bound with a statistics network (Belghazi et al. 2018)", settings="predgen.analysis.estimators.settings:RepeatedSettings")
mi_estimators.register("infonce", "predgen.analysis.estimators.infonce:InfoNce", "contrastive bound, at most log of the batch size (Oord et al. 2018)", settings="predgen.analysis.estimators.settings:RepeatedSettings")
mi_estimators.register("ksg", "predgen.analysis.estimators.ksg:Ksg", "nearest neighbours (Kraskov et al. 2004; Ross 2014 for classes); no bound", settings="predgen.analysis.estimators.settings:NeighbourSettings")
mi_estimators.register("classifier", "predgen.analysis.estimators.classifier:Classifier", "H(Y) minus a linear readout's held-out cross-entropy", settings="predgen.analysis.estimators.settings:FoldedSettings")

decodings = Registry("decoding")
decodings.register("greedy", "predgen.decodings:GREEDY", "the answer as it is written, token by token")
decodings.register("argmax", "predgen.decodings:ARGMAX", "the most probable answer")
decodings.register("mean", "predgen.decodings:MEAN_NUMBER", "mean of the numbers by their probabilities: least squared error")
decodings.register("median", "predgen.decodings:MEDIAN_NUMBER", "median of the numbers by their probabilities: least absolute error")
decodings.register("best", "predgen.decodings:BEST", "the mean, or the median where the run's metric rewards it")
decodings.register("free", "predgen.decodings:FREE", "a text that nothing constrains, then read (methods without a head)")

bases = Registry("base model")
bases.register("smollm2", "predgen.bases.known:SMOLLM2", "SmolLM2-135M-Instruct")
bases.register("gemma3-270m", "predgen.bases.known:GEMMA3_270M", "Gemma 3 270M")
bases.register("minilm", "predgen.bases.known:MINILM", "all-MiniLM-L6-v2")
bases.register("smollm2-360m", "predgen.bases.known:SMOLLM2_360M", "SmolLM2-360M-Instruct")
bases.register("qwen3-0.6b", "predgen.bases.known:QWEN3_0_6B", "Qwen3-0.6B")

# Facts of a baseline: `kinds` of task that it serves, all unless given. `trains`: it depends on the seed, and runs with each.
# `package` that it needs beyond predgen's own, and the `extra` of predgen that brings it.
baselines = Registry("baseline")
baselines.register("constant", "predgen.baselines.constant:Constant", "the most frequent label or answer, or the mean")
baselines.register("tfidf", "predgen.baselines.linear:Tfidf", "words and word pairs by TF-IDF, with a linear model", facts={"kinds": ("classification", "regression")})
baselines.register("embedding", "predgen.baselines.linear:Embedding", "vectors of a frozen sentence encoder, with a linear model", facts={"kinds": ("classification", "regression")}, settings="predgen.baselines.settings:EmbeddingSettings")
baselines.register("encoder", "predgen.baselines.encoder:FineTunedEncoder", "a sequence classifier of transformers, fine-tuned whole in as many passes", facts={"kinds": ("classification", "regression"), "trains": True}, settings="predgen.baselines.settings:EncoderSettings")
baselines.register("setfit", "predgen.baselines.setfit_peer:SetFitPeer", "a sentence encoder, fine-tuned by pairs of rows (SetFit), with a linear model", facts={"kinds": ("classification",), "trains": True, "package": "setfit", "extra": "peers"}, settings="predgen.baselines.settings:SetFitSettings")
baselines.register("zero_shot", "predgen.compare.zero_shot:ZeroShot", "the base model as it is, under the constraint of the answer format")

presets = Registry("preset")
presets.register("paper", "predgen.paper.presets:paper", "the PredGen paper's settings per task (Table 3)")

tasks = Registry("task")
tasks.register("boolq", "predgen.tasks.boolq:BOOLQ", "yes/no questions, without the passage, 2 classes")
tasks.register("piqa", "predgen.tasks.piqa:PIQA", "which of 2 solutions reaches an everyday goal")
tasks.register("siqa", "predgen.tasks.siqa:SIQA", "which of 3 answers fits a social situation")
tasks.register("hellaswag", "predgen.tasks.hellaswag:HELLASWAG", "which of 4 endings continues a description")
tasks.register("winogrande", "predgen.tasks.winogrande:WINOGRANDE", "which of 2 options fills the blank")
tasks.register("arc_easy", "predgen.tasks.arc_easy:ARC_EASY", "science questions, 3 to 5 options, easy", aliases=("arc_e",))
tasks.register("arc_challenge", "predgen.tasks.arc_challenge:ARC_CHALLENGE", "science questions, 3 to 5 options, hard", aliases=("arc_c",))
tasks.register("obqa", "predgen.tasks.obqa:OBQA", "science questions, 4 options, with facts from outside", aliases=("openbookqa",))
tasks.register("sst2", "predgen.tasks.sst2:SST2", "movie review sentiment, 2 classes")
tasks.register("wassa", "predgen.tasks.wassa:WASSA", "emotion intensity of tweets, 0..1")
tasks.register("sick", "predgen.tasks.sick:SICK", "sentence relatedness, 1..5")
tasks.register("stsb", "predgen.tasks.stsb:STSB", "sentence similarity, 0..5")
tasks.register("lcp_single", "predgen.tasks.lcp_single:LCP_SINGLE", "difficulty of a word in its sentence, 0..1", aliases=("lcp",))
tasks.register("lcp_multi", "predgen.tasks.lcp_multi:LCP_MULTI", "difficulty of a two-word expression in its sentence, 0..1")
tasks.register("clear", "predgen.tasks.clear:CLEAR", "ease of reading of school texts, unbounded")
tasks.register("humicroedit", "predgen.tasks.humicroedit:HUMICROEDIT", "funniness of edited headlines, 0..3")
tasks.register("math_10k", "predgen.tasks.math_10k:MATH_10K", "training files in LLM-Adapters' format, with worked solutions")
tasks.register("gsm8k", "predgen.tasks.gsm8k:GSM8K", "grade-school word problems")
tasks.register("multiarith", "predgen.tasks.multiarith:MULTIARITH", "word problems of several steps, test only")
tasks.register("addsub", "predgen.tasks.addsub:ADDSUB", "word problems of addition and subtraction, test only")
tasks.register("singleeq", "predgen.tasks.singleeq:SINGLEEQ", "word problems that one equation solves, test only")
tasks.register("svamp", "predgen.tasks.svamp:SVAMP", "varied word problems, test only")


def by_name() -> dict[str, Registry]:
    """Return all registries, by the name of their variable."""
    return {name: value for name, value in globals().items() if isinstance(value, Registry)}


def of_runs() -> list[Registry]:
    """Return the registries that a run chooses from; the others are chosen from when it is used, or before it is made."""
    return [registry for registry in by_name().values() if registry not in (baselines, decodings, mi_estimators, presets)]


_BUILT_IN = {name: frozenset(registry) for name, registry in by_name().items()}


def added() -> dict[str, list[dict[str, Any]]]:
    """Return what others have registered, as plain data for another process; see `add`."""
    found = {
        name: [entry for entry in registry.registrations() if entry["name"] not in _BUILT_IN[name]]
        for name, registry in by_name().items()
    }
    return {name: entries for name, entries in found.items() if entries}


def add(registrations: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Register what `added` returned elsewhere; nothing is imported before it is used."""
    for name, entries in registrations.items():
        for entry in entries:
            by_name()[name].register(**entry)
