-- What the provider delivered for each sector and month: bars, refused and doubted bars, and members without a bar.
WITH bars AS (
    SELECT
        sector,
        month,
        count(*) AS bars,
        count(DISTINCT ticker) AS tickers,
        count(*) FILTER (WHERE open IS NULL) AS without_open,
        count(*) FILTER (WHERE unexplained) AS unexplained
    FROM ohlcv
    WHERE in_sector AND strftime(date, '%Y-%m') = month
    GROUP BY sector, month
),
refused AS (
    SELECT sector, month, count(*) AS refused FROM quarantine GROUP BY sector, month
),
doubted AS (
    SELECT
        sector,
        month,
        count(*) FILTER (WHERE action = 'repaired') AS repaired,
        count(*) FILTER (WHERE action = 'listed') AS listed
    FROM price_events
    WHERE strftime(date, '%Y-%m') = month
    GROUP BY sector, month
),
expected AS (
    SELECT sector, month, max(date) AS as_of, count(*) AS member_sessions FROM universe GROUP BY sector, month
),
absent AS (
    SELECT sector, month, sum(sessions) AS sessions FROM absences GROUP BY sector, month
)
SELECT
    e.sector,
    e.as_of,
    coalesce(b.tickers, 0)::INTEGER AS tickers,
    coalesce(b.bars, 0)::INTEGER AS bars,
    coalesce(r.refused, 0)::INTEGER AS refused_bars,
    coalesce(b.without_open, 0)::INTEGER AS bars_without_open,
    coalesce(b.unexplained, 0)::INTEGER AS unexplained_bars,
    coalesce(d.repaired, 0)::INTEGER AS repaired_events,
    coalesce(d.listed, 0)::INTEGER AS listed_events,
    e.member_sessions::INTEGER AS member_sessions,
    (e.member_sessions - coalesce(a.sessions, 0))::INTEGER AS member_bars
FROM expected AS e
LEFT JOIN bars AS b ON e.sector = b.sector AND e.month = b.month
LEFT JOIN refused AS r ON e.sector = r.sector AND e.month = r.month
LEFT JOIN doubted AS d ON e.sector = d.sector AND e.month = d.month
LEFT JOIN absent AS a ON e.sector = a.sector AND e.month = a.month
