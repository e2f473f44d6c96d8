"""What the figures of a sector's report mean: the values of `metric` in dataset `ops_report`."""

_INTERVAL = {
    "sharpe": "the Sharpe ratio",
    "information_ratio": "the information ratio",
    "rank_ic": "the rank IC",
}
_METHOD = {
    "hac": "by a standard error that allows for autocorrelation (Newey-West)",
    "bootstrap": "by resampling blocks of sessions",
}

FIGURES: dict[str, str] = {
    "sessions": "trading days that the figures of the window cover",
    "months": "calendar months that the window touches",
    "total_return": "compound return after costs",
    "benchmark_return": "compound equal-weight return of the sector's members, without costs",
    "annualised_return": "compound return per year after costs",
    "annualised_volatility": "standard deviation of daily net returns, times the root of 252",
    "sharpe": "mean over deviation of daily net returns, annualised; risk-free rate 0",
    "sortino": "like the Sharpe ratio, over the deviation of losses alone",
    "max_drawdown": "largest loss from a peak of the equity, as a positive fraction",
    "drawdown": "loss from the peak of the equity at as_of, as a positive fraction",
    "calmar": "return per year over the largest drawdown",
    "hit_rate": "share of sessions with a positive net return",
    "turnover": "value bought plus value sold, over equity",
    "average_turnover": "turnover per calendar month",
    "cost": "trading costs over equity, added up",
    "information_ratio": "mean over deviation of the daily return in excess of the benchmark, annualised",
    "index_sessions": "sessions that both the book and the index or fund of `backtest.benchmark` have",
    "index_return": "compound return of that index over them",
    "index_alpha": "return per year that the index's beta does not explain",
    "index_alpha_t": "alpha over its standard error, which allows for autocorrelation",
    "index_beta": "slope of the book's daily returns on those of the index",
    "index_tracking_error": "standard deviation of the daily return in excess of the index, annualised",
    "index_information_ratio": "mean over deviation of the daily return in excess of the index, annualised",
    **{
        f"{name}_{method}_{end}": f"{side} end of the 95 % interval of {what}, {how}"
        for name, what in _INTERVAL.items()
        for method, how in _METHOD.items()
        for end, side in (("low", "lower"), ("high", "upper"))
    },
    "skew": "skewness of daily net returns; negative where large losses are more usual than large gains",
    "kurtosis": "kurtosis of daily net returns; 3 for a normal distribution",
    "probabilistic_sharpe": "probability that the true Sharpe ratio is above 0, given skew, kurtosis and length",
    "deflated_sharpe": "the same above what the best of all trials would show without skill",
    "minimum_track_record": "sessions after which the probabilistic Sharpe ratio would reach 95 %",
    "trials": "sets of settings that were tried for the sector on data up to as_of",
    "trials_with_sharpe": "trials with a Sharpe ratio",
    "trials_sharpe_variance": "variance of the trials' Sharpe ratios",
    "expected_maximum_sharpe": "Sharpe ratio that the best of the trials would show without skill",
    "overfitting_probability": "probability that the strategy chosen as the best ranks below the median out of sample",
    "overfitting_strategies": "strategies that the probability of overfitting compares",
    "overfitting_sessions": "sessions that all of these strategies have",
    "rank_ic": "mean over sessions of the rank correlation of forecasts and outcomes, as far as they are known",
    "rank_ic_standard_error": "standard error of the mean rank IC, which allows for overlapping outcomes",
    "rank_ic_sessions": "sessions whose outcomes are known, over which the rank IC is a mean",
    "members": "names of the sector at as_of",
    "eligible_members": "members that passed the filters of the candidates",
    "long_candidates": "names among the highest selection scores",
    "short_candidates": "names among the lowest selection scores",
    "picks": "names held from the next execution on",
    "largest_weight": "greatest share of capital in one name",
    "effective_picks": "as many equal weights would be spread as much as the weights are",
    "regime_volatility": "annualised volatility that the sector's regime is decided by",
    "regime_drawdown": "drawdown that the sector's regime is decided by",
    "quarantined_bars": "bars that were refused",
    "refused_bars": "bars that were refused, over the report's history",
    "repaired_events": "bars whose splits or dividends were repaired",
    "listed_events": "bars whose splits or dividends are doubtful and used as given",
    "absent_sessions": "sessions of members without a bar",
    "unexplained_steps": "price steps of held names that nothing explains",
}
