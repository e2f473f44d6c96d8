-- The candidates once more, selected in SQL: what the documentation of quant_assets/signals/candidates.py says, without its code.
-- $decision_sessions are those of the run, $group__name is a setting. The asset check `same_selection` compares ticker by ticker.
WITH members AS (
    SELECT sector, date AS as_of, count(*) AS universe_count FROM universe GROUP BY sector, date
),
eligible AS (
    SELECT sector, ticker, date AS as_of, momentum, ma_slope, -garch_volatility AS calm
    FROM indicators
    WHERE
        list_contains($decision_sessions, date)
        AND history_sessions >= $candidates__min_history_sessions
        AND coalesce(dollar_volume >= $candidates__min_dollar_volume, true)
        AND momentum IS NOT NULL
        AND ma_slope IS NOT NULL
        AND unexplained_sessions IS NULL
        AND coalesce(
            garch_volatility BETWEEN $candidates__min_volatility AND $candidates__max_volatility,
            $candidates__unknown_volatility = 'pass' OR ($candidates__unknown_volatility = 'young' AND garch_status = 'too_young')
        )
),
parts AS (
    SELECT sector, ticker, as_of, 'momentum' AS part, $candidates__momentum_weight AS weight, momentum AS value FROM eligible
    UNION ALL
    SELECT sector, ticker, as_of, 'ma_slope', $candidates__moving_average_weight, ma_slope FROM eligible
    UNION ALL
    SELECT sector, ticker, as_of, 'volatility', $candidates__volatility_weight, calm FROM eligible WHERE calm IS NOT NULL
),
-- A rank is the mean of the places that tied names share.
compared AS (
    SELECT
        * REPLACE (
            CASE
                WHEN $candidates__standardise = 'rank'
                THEN rank() OVER (PARTITION BY sector, as_of, part ORDER BY value)
                    + (count(*) OVER (PARTITION BY sector, as_of, part, value) - 1) / 2
                ELSE value
            END AS value
        )
    FROM parts
),
centred AS (
    SELECT
        *,
        value - fsum(value) OVER session / count(*) OVER session AS deviation,
        min(value) OVER session < max(value) OVER session AS varies,
        count(*) OVER session AS observed
    FROM compared
    WINDOW session AS (PARTITION BY sector, as_of, part)
),
standardised AS (
    SELECT
        *,
        CASE WHEN varies THEN deviation / sqrt(fsum(deviation * deviation) OVER session / (observed - 1)) ELSE 0.0 END AS score
    FROM centred
    WINDOW session AS (PARTITION BY sector, as_of, part)
),
-- Nine decimals, as there: sums that differ by rounding errors only are ties. DuckDB adds in no fixed order, so the parts are rounded too.
scored AS (
    SELECT
        sector,
        ticker,
        as_of,
        round(fsum(weight * score), 9) AS composite_score,
        round(max(score) FILTER (WHERE part = 'momentum'), 9) AS momentum_score,
        round(max(score) FILTER (WHERE part = 'ma_slope'), 9) AS ma_slope_score,
        round(coalesce(max(score) FILTER (WHERE part = 'volatility'), 0.0), 9) AS volatility_score,
        count(*) OVER (PARTITION BY sector, as_of) AS eligible_count
    FROM standardised
    GROUP BY sector, ticker, as_of
),
by_score AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY sector, as_of ORDER BY composite_score DESC, ticker)
            <= greatest(1, floor($candidates__long_fraction * eligible_count + 1e-9)) AS is_long
    FROM scored
),
ranked AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY sector, as_of, is_long
            ORDER BY CASE WHEN is_long THEN -composite_score ELSE composite_score END, ticker
        ) AS selection_rank
    FROM by_score
)
SELECT
    r.sector,
    r.ticker,
    r.as_of,
    CASE WHEN r.is_long THEN 'long' ELSE 'short' END AS candidate_type,
    r.selection_rank::INTEGER AS selection_rank,
    r.composite_score,
    r.momentum_score,
    r.ma_slope_score,
    r.volatility_score,
    m.universe_count::INTEGER AS universe_count,
    r.eligible_count::INTEGER AS eligible_count
FROM ranked AS r
JOIN members AS m ON r.sector = m.sector AND r.as_of = m.as_of
WHERE r.is_long OR r.selection_rank <= greatest(1, floor($candidates__short_fraction * r.eligible_count + 1e-9))
