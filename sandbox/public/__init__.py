"""
The public side of the sandbox: names (:mod:`dns`), what answers behind them (:mod:`edge`), and who
asks (:mod:`visitor`).
"""
