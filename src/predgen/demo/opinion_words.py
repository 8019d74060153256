"""Words of the graded opinions: ordinary English of 1880 to 1930, which the embedded model's books are full of.

Families are split into words for training and words for validation and test. Every word outside the families is shared.
"""

# Valence of the bare adjective -> (words for training, words held out).
ADJECTIVES: dict[float, tuple[tuple[str, ...], tuple[str, ...]]] = {
    0.8: (
        ("splendid", "wonderful", "glorious", "excellent", "perfect", "superb", "admirable", "exquisite"),
        ("magnificent", "delightful", "brilliant", "marvellous", "lovely", "enchanting"),
    ),
    0.4: (
        ("good", "pleasant", "charming", "nice", "cheerful", "fine", "interesting", "graceful"),
        ("agreeable", "comfortable", "satisfactory", "pretty", "pleasing", "amusing"),
    ),
    -0.4: (
        ("dull", "poor", "dreary", "weak", "stupid", "unpleasant", "foolish", "monotonous"),
        ("tiresome", "clumsy", "gloomy", "feeble", "shabby", "disagreeable"),
    ),
    -0.8: (
        ("dreadful", "terrible", "wretched", "horrible", "hideous", "abominable", "disgusting", "vile"),
        ("awful", "horrid", "miserable", "frightful", "ghastly", "detestable"),
    ),
}

# What is judged -> its aspects. Nouns have no valence; held-out ones keep their names from being learnt instead.
TRAIN_OCCASIONS: dict[str, tuple[str, ...]] = {
    "play": ("acting", "story", "ending", "dancing"),
    "inn": ("dinner", "room", "service", "wine"),
    "concert": ("music", "hall", "company", "singing"),
    "voyage": ("weather", "food", "cabin", "captain"),
    "book": ("plot", "style", "beginning", "hero"),
}
HELD_OUT_OCCASIONS: dict[str, tuple[str, ...]] = {
    "hotel": ("supper", "view", "garden", "waiter"),
    "party": ("conversation", "tea", "house", "host"),
    "opera": ("orchestra", "scenery", "chorus", "audience"),
    "journey": ("train", "road", "landlord", "coffee"),
}

FRAMES = ("the {n} was {p}", "the {n} seemed {p}")

# How a phrase changes the valence of its adjective, and how often it is drawn. Negation flips and weakens: "not dreadful"
# is less than good.
PHRASES: tuple[tuple[str, float, int], ...] = (
    ("{a}", 1.0, 6),
    ("very {a}", 1.3, 2),
    ("extremely {a}", 1.3, 2),
    ("rather {a}", 0.6, 2),
    ("somewhat {a}", 0.6, 2),
    ("not {a}", -0.5, 2),
    ("by no means {a}", -0.8, 1),
    ("far from {a}", -0.9, 1),
    ("anything but {a}", -1.2, 1),
)

# How two clauses are joined: (text, weight of the first, weight of the second, sign of the second relative to the first
# or 0 for any, how often it is drawn). Order and scope decide, which a bag of words does not see.
JOINS: tuple[tuple[str, float, float, int, int], ...] = (
    ("{0}, but {1}.", 1.0, 3.0, -1, 3),
    ("although {0}, {1}.", 1.0, 3.0, -1, 1),
    ("{0}, although {1}.", 3.0, 1.0, -1, 1),
    ("{0}, and {1}.", 1.0, 1.0, 1, 3),
)
