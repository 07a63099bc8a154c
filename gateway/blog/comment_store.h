/* comment_store.h - comments as rows: threads, likes, what the models said, what a moderator decided.
 *
 * A comment is visible, held (waits for a moderator) or rejected; held and rejected ones are seen by their author and
 * moderators alone. A deleted one keeps its place, without content, while others have answered it.
 * Every text lives in db->arena. */
#ifndef BLOG_COMMENT_STORE_H
#define BLOG_COMMENT_STORE_H

#include "pg/pg.h"

#include <stdbool.h>

#define COMMENT_MAX_BYTES 16384 /* as in the table's checks */
#define COMMENT_MAX_DEPTH 16    /* an answer to a deeper one stands beside it */
#define COMMENT_MAX_PAGE  200

enum comment_state { COMMENT_VISIBLE, COMMENT_HELD, COMMENT_REJECTED };

const char *comment_state_name(enum comment_state state);
bool comment_state_parse(enum comment_state *out, const char *name);

struct comment {
    int64_t id, post_id, user_id, parent_id; /* parent_id 0: answers the post */
    int64_t depth, likes;
    const char *content; /* "": deleted */
    const char *username, *display_name, *avatar_id;
    int64_t created_at, edited_at, deleted_at; /* clock_wall() scale; 0: never */
    enum comment_state state;
    const char *held_by;     /* "model", "admin", "word", "flood"; "": nothing */
    double sentiment, troll; /* probabilities of positive and troll; -1: not known yet */
    bool liked;              /* by the viewer */
};

/* What the models say of one text. */
struct comment_labels {
    double sentiment, troll;
    int64_t sentiment_version, troll_version;
};

struct comment_new {
    int64_t post_id, user_id, parent_id; /* parent_id 0: none */
    const char *content;                 /* checked, 1..COMMENT_MAX_BYTES bytes */
    const struct comment_labels *labels; /* NULL: the labeller has it to do */
    enum comment_state state;
    const char *held_by; /* NULL: nothing */
};

/* ST_NOT_FOUND: no such post, published, or no such comment of it to answer. */
struct status comment_create(struct pg *db, const struct comment_new *new_comment, struct comment *out);

/* viewer_id: whose likes and whose hidden comments count; 0: nobody's. all: those of everybody are seen. */
struct comment_view {
    int64_t viewer_id;
    bool all;
};

struct status comment_find(struct pg *db, int64_t id, const struct comment_view *view, struct comment *out);

/* Oldest first, after the comment after_id (0: from the first). *comments: (*n,), at most limit. */
struct status comment_list(struct pg *db, int64_t post_id, int64_t after_id, int64_t limit,
                           const struct comment_view *view, struct comment **comments, size_t *n);

/* By its author, within the window (seconds since it was written): new content, new labels, perhaps held. ST_PRECONDITION:
 * the window is over, or it is deleted or rejected; ST_NOT_FOUND: none of his. */
struct status comment_edit(struct pg *db, int64_t id, int64_t user_id, int64_t window_s, const char *content,
                           const struct comment_labels *labels, enum comment_state state, const char *held_by,
                           struct comment *out);

/* By its author; user_id -1: by a moderator. What nobody answered goes as a row. */
struct status comment_delete(struct pg *db, int64_t id, int64_t user_id);

/* Idempotent. *likes: how many it has then. ST_NOT_FOUND: not there or not visible; ST_PRECONDITION: one's own. */
struct status comment_like(struct pg *db, int64_t id, int64_t user_id, bool like, int64_t *likes);

/* ---- labels that came later ---- */

struct comment_text {
    int64_t id;
    const char *content;
};

/* Takes up to `limit` comments that nobody has labelled, for as long as `lease_s`; nobody else gets them meanwhile. A
 * comment is tried again later and later. */
struct status comment_claim(struct pg *db, int64_t limit, int64_t lease_s, struct comment_text **texts, size_t *n);

/* hold: over the threshold. Nothing happens to one that has been edited, deleted or labelled since. */
struct status comment_label(struct pg *db, const struct comment_text *text, const struct comment_labels *labels,
                            bool hold);

/* ---- moderation ---- */

/* In this state, oldest first, after after_id. */
struct status comment_queue(struct pg *db, enum comment_state state, int64_t after_id, int64_t limit,
                            struct comment **comments, size_t *n);

/* By a moderator, any state from any state. *before: what it was, for the audit log. */
struct status comment_moderate(struct pg *db, int64_t id, enum comment_state state, enum comment_state *before,
                               struct comment *out);

#endif
