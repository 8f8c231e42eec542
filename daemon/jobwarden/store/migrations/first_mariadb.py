"""MariaDB's first schema, which revision 0003 executes: the tables of `schema.py` in this database's own words.

Written out: it describes the past and never changes. Each statement commits by itself and can be repeated, so that a
migration that was cut off goes on when it is begun again. There are no partial indexes: the columns that the conditions
of `schema.py` name come first, and what is of no interest lies together at the NULLs, where no statement looks.
Identifiers compare bytewise, trailing blanks included. Moments are `datetime(6)` in UTC.
"""

from __future__ import annotations

_SEQUENCE = "CREATE SEQUENCE IF NOT EXISTS job_ids CACHE 1000 ENGINE = InnoDB"

_OURS = (
    "ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin "
    "COMMENT = 'jobwarden; made by revision 0003'"
)

_JOB = f"""
CREATE TABLE IF NOT EXISTS job (
    id bigint NOT NULL PRIMARY KEY,
    job_type varchar(255) NOT NULL,
    status varchar(16) NOT NULL,
    priority int NOT NULL,
    run_at datetime(6) NOT NULL,
    ready int,
    due_at datetime(6),
    claim_rank int NOT NULL,
    fence bigint NOT NULL DEFAULT 0,
    node_id varchar(64),
    claim_batch varchar(64),
    locked_at datetime(6),
    locked_by varchar(255),
    wish varchar(16),
    wish_reason longtext,
    wish_at datetime(6),
    attempts int NOT NULL DEFAULT 0,
    max_attempts int,
    crashes int NOT NULL DEFAULT 0,
    interruptions int NOT NULL DEFAULT 0,
    lost_in_row int NOT NULL DEFAULT 0,
    timeout_ms bigint,
    heartbeat_timeout_ms bigint,
    force_kill_on_timeout int NOT NULL DEFAULT 0,
    retry_delay double,
    retry_backoff int NOT NULL DEFAULT 1,
    retry_delay_max double,
    handler_generation int,
    created_at datetime(6) NOT NULL,
    updated_at datetime(6) NOT NULL,
    started_at datetime(6),
    next_attempt_at datetime(6),
    completed_at datetime(6),
    last_retried_at datetime(6),
    last_failed_at datetime(6),
    last_cancelled_at datetime(6),
    ended_at datetime(6),
    wait_until datetime(6),
    expires_at datetime(6),
    dead_lettered_at datetime(6),
    pending_reason varchar(255),
    failure_reason varchar(32),
    progress double,
    group_id varchar(255),
    idempotency_key varchar(255),
    wait_token_id varchar(255),
    dead_letter_job_type varchar(255),
    dead_letter_job_id bigint,
    depends_on_tags longtext,
    metadata longtext,
    payload longtext NOT NULL,
    output longtext,
    step_data longtext,
    error_history longtext,
    gate varchar(16),
    INDEX job_claim (ready, job_type, claim_rank, due_at, id, status),
    INDEX job_due (ready, gate, due_at, job_type, status),
    INDEX job_gated (gate, job_type, status),
    INDEX job_lane_type (gate, job_type, claim_rank, due_at, id, group_id),
    INDEX job_lane_group (gate, group_id, claim_rank, due_at, id, job_type),
    INDEX job_group (group_id, ready),
    INDEX job_group_running (group_id, status),
    INDEX job_node (node_id, claim_batch),
    INDEX job_wish (wish, node_id),
    INDEX job_expiry (started_at, ended_at, expires_at),
    INDEX job_history (status, ended_at, id)
) {_OURS}
"""

_EVENT = f"""
CREATE TABLE IF NOT EXISTS event (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id bigint NOT NULL,
    type varchar(16) NOT NULL,
    at datetime(6) NOT NULL,
    fence bigint,
    attempt int,
    node_id varchar(64),
    node_name varchar(255),
    worker_pid int,
    generation int,
    started_at datetime(6),
    ended_at datetime(6),
    outcome varchar(16),
    `signal` int,
    exit_code int,
    peak_rss_kb bigint,
    cpu_ms bigint,
    metadata longtext,
    error longtext,
    left_behind longtext,
    captured longtext,
    stack_dump longtext,
    written datetime(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)) COMMENT 'by the server: followers wait a moment from here',
    INDEX event_job (job_id)
) {_OURS}
"""

_ATTEMPTS_VIEW = """
CREATE OR REPLACE VIEW attempts AS
SELECT id, job_id, fence, attempt, outcome, node_id, node_name, worker_pid, generation, started_at, ended_at,
       `signal`, exit_code, peak_rss_kb, cpu_ms, error, captured, stack_dump, left_behind
FROM event WHERE outcome IS NOT NULL
"""

_NODE = f"""
CREATE TABLE IF NOT EXISTS node (
    id varchar(64) NOT NULL PRIMARY KEY,
    name varchar(255) NOT NULL,
    host varchar(255) NOT NULL,
    boot_id varchar(64) NOT NULL,
    pid int NOT NULL,
    state_dir longtext NOT NULL,
    started_at datetime(6) NOT NULL,
    beat bigint NOT NULL,
    beat_at datetime(6) NOT NULL,
    lease_seconds double NOT NULL,
    doorbell longtext,
    version varchar(64) NOT NULL,
    report longtext,
    types longtext,
    state_lock varchar(64),
    INDEX node_held (id) COMMENT 'what a claim locks: a beat does not touch it, removal does'
) {_OURS}
"""

_KEY = f"""
CREATE TABLE IF NOT EXISTS `key` (
    name varchar(255) NOT NULL PRIMARY KEY,
    job_id bigint NOT NULL,
    expires_at datetime(6),
    INDEX key_job (job_id),
    INDEX key_expiry (expires_at)
) {_OURS}
"""

_TAG = f"""
CREATE TABLE IF NOT EXISTS tag (
    job_id bigint NOT NULL,
    name varchar(255) NOT NULL,
    position int NOT NULL,
    live int DEFAULT 1,
    PRIMARY KEY (job_id, name),
    FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE,
    INDEX tag_name (name, job_id),
    INDEX tag_live (live, name, job_id)
) {_OURS}
"""

_EDGE = f"""
CREATE TABLE IF NOT EXISTS edge (
    job_id bigint NOT NULL,
    depends_on bigint NOT NULL,
    on_failure varchar(8) NOT NULL DEFAULT 'cancel',
    settled int,
    PRIMARY KEY (job_id, depends_on),
    FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE,
    INDEX edge_open (depends_on, settled),
    INDEX edge_failed (settled, depends_on)
) {_OURS}
"""

_BARRIER = f"""
CREATE TABLE IF NOT EXISTS barrier (
    job_id bigint NOT NULL PRIMARY KEY,
    waits_for bigint NOT NULL,
    FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE,
    INDEX barrier_waits_for (waits_for)
) {_OURS}
"""

_CONTROL = f"""
CREATE TABLE IF NOT EXISTS control (
    scope varchar(8) NOT NULL,
    name varchar(255) NOT NULL,
    max_running int,
    max_per_node int,
    rate int,
    rate_seconds double,
    paused_at datetime(6),
    paused_until datetime(6),
    pause_reason longtext,
    updated_at datetime(6) NOT NULL,
    PRIMARY KEY (scope, name)
) {_OURS}
"""

_START = f"""
CREATE TABLE IF NOT EXISTS start (
    scope varchar(8) NOT NULL,
    name varchar(255) NOT NULL,
    slice bigint NOT NULL,
    number int NOT NULL,
    PRIMARY KEY (scope, name, slice)
) {_OURS}
"""

_TALLY = f"""
CREATE TABLE IF NOT EXISTS tally (
    id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_type varchar(255) NOT NULL,
    status varchar(16) NOT NULL,
    number bigint NOT NULL
) {_OURS}
"""

_MAINTENANCE = f"""
CREATE TABLE IF NOT EXISTS maintenance (
    name varchar(32) NOT NULL PRIMARY KEY,
    next_at datetime(6) NOT NULL
) {_OURS}
"""

STATEMENTS = (
    _SEQUENCE,
    *(_JOB, _EVENT, _ATTEMPTS_VIEW, _NODE, _KEY, _TAG, _EDGE, _BARRIER, _CONTROL, _START, _TALLY, _MAINTENANCE),
)
