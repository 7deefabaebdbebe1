"""Colours that remain apart for people with any common colour blindness (Okabe and Ito), and style of plots."""

BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, YELLOW, BLACK = (
    '#0072B2',
    '#D55E00',
    '#009E73',
    '#E69F00',
    '#56B4E9',
    '#CC79A7',
    '#F0E442',
    '#000000',
)
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
"""In the order in which lines of one plot take them."""

AREAS = (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE, BLACK)
"""In the order in which areas of one picture take them."""

DASHES = ('-', '--', '-.', ':')
"""Line styles beside the colours, for print in grey."""


def rgb(color: str) -> tuple[int, int, int]:
    """``'#RRGGBB'`` as three numbers from 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
