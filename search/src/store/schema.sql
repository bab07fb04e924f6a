-- The log is the truth; it only grows. The other tables are its projection, for people and for reports:
-- they are written in the same transaction, and can be built again from the log.

CREATE TABLE log (
    seq  INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,              -- milliseconds since 1970
    kind TEXT NOT NULL,
    body TEXT NOT NULL                  -- JSON, see store/event.rs
) STRICT;

CREATE TRIGGER log_keeps_rows BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER log_keeps_text BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;

-- What runs now, and what ran when the process died: no part of the log, and empty after a session that ended in good order.
CREATE TABLE running (
    candidate INTEGER NOT NULL,
    tier      TEXT NOT NULL,
    seed      INTEGER NOT NULL,
    active    INTEGER NOT NULL,         -- 1: it runs, or ran when the process died
    deaths    INTEGER NOT NULL,
    PRIMARY KEY (candidate, tier, seed)
) STRICT;

CREATE TABLE candidates (
    id          INTEGER PRIMARY KEY,
    generation  INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    origin      TEXT NOT NULL,          -- anchor, control, proposed
    name        TEXT NOT NULL,
    parents     TEXT NOT NULL,          -- JSON list of ids
    researcher  TEXT,
    action      TEXT,
    site        TEXT,
    why         TEXT,
    tasks       TEXT,                   -- JSON list
    change      TEXT NOT NULL,
    source      TEXT NOT NULL,
    diff        TEXT NOT NULL,
    hash        TEXT NOT NULL,
    family      TEXT NOT NULL,
    verdict     TEXT NOT NULL,          -- admitted, duplicate, outranked, rejected
    duplicate_of INTEGER,
    rejected_by TEXT,
    code        TEXT,
    message     TEXT,
    findings    TEXT NOT NULL,          -- JSON
    params      INTEGER,
    flops_per_token REAL,
    state       INTEGER,
    time_class  TEXT,
    mixer       TEXT
) STRICT;

CREATE INDEX candidates_by_hash ON candidates (hash);

CREATE TABLE evaluations (
    key       TEXT NOT NULL,
    candidate INTEGER NOT NULL REFERENCES candidates (id),
    tier      TEXT NOT NULL,
    seed      INTEGER NOT NULL,
    status    TEXT NOT NULL,
    score     REAL,
    tokens    INTEGER NOT NULL,
    seconds   REAL NOT NULL,
    report    TEXT NOT NULL,            -- JSON
    PRIMARY KEY (candidate, tier, seed)
) STRICT;

CREATE TABLE generations (
    number   INTEGER PRIMARY KEY,
    proposed INTEGER NOT NULL,          -- milliseconds since 1970
    closed   INTEGER
) STRICT;

CREATE TABLE analyses (
    candidate INTEGER PRIMARY KEY REFERENCES candidates (id),
    better    REAL NOT NULL,            -- probability that it beats its parent
    body      TEXT NOT NULL             -- JSON
) STRICT;

CREATE TABLE beliefs (
    generation INTEGER NOT NULL,        -- after this generation
    action     TEXT NOT NULL,
    site       TEXT NOT NULL,
    alpha      REAL NOT NULL,
    beta       REAL NOT NULL,
    tries      INTEGER NOT NULL,
    PRIMARY KEY (generation, action, site)
) STRICT;

CREATE TABLE ranking (
    position  INTEGER PRIMARY KEY,
    candidate INTEGER NOT NULL REFERENCES candidates (id),
    body      TEXT NOT NULL             -- JSON
) STRICT;
