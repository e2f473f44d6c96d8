-- One line for each sector and month: breadth, momentum, volatility, candidates and regime at the decision.
-- warn: not_null(best_long, regime)
WITH decision AS (
    SELECT sector, month, max(date) AS as_of
    FROM indicators
    GROUP BY sector, month
),
breadth AS (
    SELECT
        i.sector,
        i.month,
        d.as_of,
        count(*)::INTEGER AS members,
        avg(CASE WHEN i.moving_average IS NULL THEN NULL WHEN i.close > i.moving_average THEN 1.0 ELSE 0.0 END) AS above_moving_average,
        median(i.momentum) AS median_momentum,
        median(i.garch_volatility) AS median_volatility
    FROM indicators AS i
    JOIN decision AS d ON i.sector = d.sector AND i.month = d.month AND i.date = d.as_of
    GROUP BY i.sector, i.month, d.as_of
),
selected AS (
    SELECT
        sector,
        month,
        count(*) FILTER (WHERE candidate_type = 'long')::INTEGER AS longs,
        count(*) FILTER (WHERE candidate_type = 'short')::INTEGER AS shorts,
        max(CASE WHEN candidate_type = 'long' AND selection_rank = 1 THEN ticker END) AS best_long
    FROM candidates
    GROUP BY sector, month
)
SELECT
    b.sector,
    b.as_of,
    b.members,
    b.above_moving_average,
    b.median_momentum,
    b.median_volatility,
    coalesce(s.longs, 0)::INTEGER AS longs,
    coalesce(s.shorts, 0)::INTEGER AS shorts,
    s.best_long,
    r.regime
FROM breadth AS b
LEFT JOIN selected AS s ON b.sector = s.sector AND b.month = s.month
LEFT JOIN regime_state AS r ON b.sector = r.sector AND b.month = r.month
