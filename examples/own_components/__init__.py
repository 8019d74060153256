"""Six components of somebody else's, each with a setting of its own, each in one file that registers it.

predgen train --import own_components.loss --loss weighted_sum --director-share 0.3 ...
"""
