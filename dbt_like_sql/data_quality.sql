-- What the provider delivered for each sector and month: bars, refused bars, and members without a bar.
WITH bars AS (
    SELECT sector, month, count(*) AS bars, count(DISTINCT ticker) AS tickers
    FROM ohlcv
    WHERE in_sector AND strftime(date, '%Y-%m') = month
    GROUP BY sector, month
),
refused AS (
    SELECT sector, month, count(*) AS refused FROM quarantine GROUP BY sector, month
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
    e.member_sessions::INTEGER AS member_sessions,
    (e.member_sessions - coalesce(a.sessions, 0))::INTEGER AS member_bars
FROM expected AS e
LEFT JOIN bars AS b ON e.sector = b.sector AND e.month = b.month
LEFT JOIN refused AS r ON e.sector = r.sector AND e.month = r.month
LEFT JOIN absent AS a ON e.sector = a.sector AND e.month = a.month
