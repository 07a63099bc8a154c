-- The blog: users, media, posts, comments, the audit log. What is deleted by a person stays as a row without its content
-- where others answered it, and goes as a whole where nobody did; see comments.deleted_at and users.erased_at.

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CONSTRAINT users_name_check CHECK (char_length(name) BETWEEN 2 AND 32),
    display_name text NOT NULL CONSTRAINT users_display_name_check CHECK (char_length(display_name) BETWEEN 1 AND 64),
    bio text NOT NULL DEFAULT '' CONSTRAINT users_bio_check CHECK (char_length(bio) <= 1000),
    role text NOT NULL DEFAULT 'reader' CONSTRAINT users_role_check CHECK (role IN ('reader', 'author', 'admin')),
    password_hash text,     -- of libsodium; NULL: nobody can log in
    avatar_id uuid,         -- of media
    created_at timestamptz NOT NULL DEFAULT now(),
    password_changed_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz, -- by an admin: may not log in
    erased_at timestamptz   -- by himself: name and content are gone, the id stays for what others wrote below it
);
CREATE UNIQUE INDEX users_name_key ON users (lower(name));
CREATE INDEX users_admin_index ON users (id) WHERE role = 'admin' AND disabled_at IS NULL;

-- Pictures, re-encoded by us.
CREATE TABLE media (
    id uuid PRIMARY KEY,
    owner_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    content_type text NOT NULL CHECK (content_type IN ('image/jpeg', 'image/png', 'image/webp')),
    width integer NOT NULL CHECK (width BETWEEN 1 AND 8192),
    height integer NOT NULL CHECK (height BETWEEN 1 AND 8192),
    sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
    bytes bytea NOT NULL CONSTRAINT media_bytes_check CHECK (octet_length(bytes) <= 2097152),
    objects jsonb, -- what the detector found: [{"label", "accuracy", "rectangle"}]; NULL: not asked yet
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE media ALTER COLUMN bytes SET STORAGE EXTERNAL; -- pictures are compressed already
CREATE INDEX media_owner_index ON media (owner_id, created_at);
ALTER TABLE users ADD CONSTRAINT users_avatar_id_fkey FOREIGN KEY (avatar_id) REFERENCES media ON DELETE SET NULL;

CREATE TABLE posts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    author_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    slug text NOT NULL CONSTRAINT posts_slug_key UNIQUE
        CONSTRAINT posts_slug_check CHECK (char_length(slug) BETWEEN 1 AND 96 AND slug !~ '^[0-9]+$'),
    title text NOT NULL CONSTRAINT posts_title_check CHECK (char_length(title) BETWEEN 1 AND 200),
    summary text NOT NULL DEFAULT '' CONSTRAINT posts_summary_check CHECK (char_length(summary) <= 500),
    markdown text NOT NULL CONSTRAINT posts_markdown_check CHECK (octet_length(markdown) <= 262144),
    html text NOT NULL,     -- of markdown, by render.h
    language text NOT NULL DEFAULT 'zh' CHECK (language IN ('zh', 'en')),
    cover_id uuid REFERENCES media ON DELETE SET NULL,
    cover_alt text NOT NULL DEFAULT '' CONSTRAINT posts_cover_alt_check CHECK (char_length(cover_alt) <= 300),
    search tsvector NOT NULL, -- by search.h
    version integer NOT NULL DEFAULT 1, -- one more with every edit, so that two editors do not undo each other
    comment_count integer NOT NULL DEFAULT 0 CHECK (comment_count >= 0), -- of visible ones
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz, -- NULL: a draft
    deleted_at timestamptz
);
CREATE INDEX posts_published_index ON posts (published_at DESC, id DESC) WHERE published_at IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX posts_author_index ON posts (author_id, updated_at DESC);
CREATE INDEX posts_search_index ON posts USING gin (search);

CREATE TABLE tags (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CONSTRAINT tags_name_check CHECK (char_length(name) BETWEEN 1 AND 32)
);
CREATE UNIQUE INDEX tags_name_key ON tags (lower(name));
CREATE TABLE post_tags (
    post_id bigint NOT NULL REFERENCES posts ON DELETE CASCADE,
    tag_id bigint NOT NULL REFERENCES tags ON DELETE CASCADE,
    PRIMARY KEY (post_id, tag_id)
);
CREATE INDEX post_tags_tag_index ON post_tags (tag_id, post_id);

CREATE TABLE comments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post_id bigint NOT NULL REFERENCES posts ON DELETE CASCADE,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    parent_id bigint REFERENCES comments ON DELETE CASCADE, -- NULL: answers the post
    depth smallint NOT NULL DEFAULT 0 CONSTRAINT comments_depth_check CHECK (depth BETWEEN 0 AND 16),
    content text NOT NULL CONSTRAINT comments_content_check CHECK (octet_length(content) <= 16384),
    state text NOT NULL DEFAULT 'visible' CHECK (state IN ('visible', 'held', 'rejected')),
    held_by text CHECK (held_by IN ('model', 'admin', 'word', 'flood')), -- why it is not visible
    likes integer NOT NULL DEFAULT 0 CHECK (likes >= 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    edited_at timestamptz,
    deleted_at timestamptz, -- the content is '' then

    -- What the models said of the content as it is now.
    sentiment real CHECK (sentiment BETWEEN 0 AND 1), -- P(positive)
    sentiment_version bigint,
    troll real CHECK (troll BETWEEN 0 AND 1),         -- P(troll)
    troll_version bigint,
    labelled_at timestamptz,                          -- NULL: the labeller has it to do
    label_attempts smallint NOT NULL DEFAULT 0,
    label_next timestamptz NOT NULL DEFAULT now()     -- not before
);
CREATE INDEX comments_post_index ON comments (post_id, id);
CREATE INDEX comments_user_index ON comments (user_id, id);
CREATE INDEX comments_parent_index ON comments (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX comments_unlabelled_index ON comments (label_next) WHERE labelled_at IS NULL AND deleted_at IS NULL;
CREATE INDEX comments_held_index ON comments (id) WHERE state = 'held' AND deleted_at IS NULL;

CREATE TABLE comment_likes (
    comment_id bigint NOT NULL REFERENCES comments ON DELETE CASCADE,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (comment_id, user_id)
);
CREATE INDEX comment_likes_user_index ON comment_likes (user_id);

-- Who did what to whom; only ever added to. Names nobody, so that it can stay when a user goes.
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor_id bigint,           -- NULL: the system
    action text NOT NULL,      -- "comment.approve", "user.role", "login.locked"
    subject text NOT NULL,     -- "comment", "user", "post", "sample", "model", "parameters"
    subject_id text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}', -- what it was and what it became
    network text NOT NULL DEFAULT '',    -- the actor's, a /24 or /48
    request_id text NOT NULL DEFAULT ''
);
CREATE INDEX audit_subject_index ON audit (subject, subject_id, id);
CREATE INDEX audit_actor_index ON audit (actor_id, id);

-- The samples that comments became.
ALTER TABLE samples ADD CONSTRAINT samples_comment_id_fkey FOREIGN KEY (comment_id) REFERENCES comments ON DELETE SET NULL;
ALTER TABLE samples ADD CONSTRAINT samples_user_id_fkey FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
