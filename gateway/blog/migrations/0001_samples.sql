-- What models are trained on: texts with their labels, by whom they were given. A worker reads its shard by shard_key, a hash of
-- the text that never changes.
CREATE TABLE samples (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task text NOT NULL CONSTRAINT samples_task_check CHECK (task ~ '^[a-z][a-z0-9_-]{0,31}$'),
    text text NOT NULL CONSTRAINT samples_text_check CHECK (octet_length(text) BETWEEN 1 AND 65536),
    label text NOT NULL CONSTRAINT samples_label_check CHECK (char_length(label) BETWEEN 1 AND 64),
    source text NOT NULL CHECK (source IN ('pseudo', 'llm', 'human', 'import')),
    confidence real NOT NULL DEFAULT 1 CHECK (confidence BETWEEN 0 AND 1),
    comment_id bigint, -- whose text it is; NULL: imported, or the comment is gone
    user_id bigint,    -- who wrote it, so that it goes with him
    labelled_by bigint,
    shard_key bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT samples_task_comment_id_key UNIQUE (task, comment_id)
);
CREATE INDEX samples_task_index ON samples (task, id);
CREATE INDEX samples_user_index ON samples (user_id);
