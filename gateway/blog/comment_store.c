/* comment_store.c - see comment_store.h. posts.comment_count follows in the same transaction: it counts what anybody sees. */
#include "comment_store.h"

#include <string.h>

/* In the order of comment_read(). $1 is the viewer. */
#define COLUMNS                                                                                                        \
    "c.id, c.post_id, c.user_id, coalesce(c.parent_id, 0), c.depth::bigint, c.likes::bigint, c.content, u.name,"       \
    " u.display_name, coalesce(u.avatar_id::text, ''), c.created_at, c.edited_at, c.deleted_at, c.state,"              \
    " coalesce(c.held_by, ''), coalesce(c.sentiment, -1)::float8, coalesce(c.troll, -1)::float8,"                      \
    " EXISTS (SELECT 1 FROM comment_likes l WHERE l.comment_id = c.id AND l.user_id = $1)"
#define FROM    " FROM comments c JOIN users u ON u.id = c.user_id "
#define VISIBLE "(c.state = 'visible' OR c.user_id = $1 OR $2::boolean)"

static const char *const state_names[] = {
    [COMMENT_VISIBLE] = "visible", [COMMENT_HELD] = "held", [COMMENT_REJECTED] = "rejected"};

const char *comment_state_name(enum comment_state state)
{
    return state_names[state];
}

bool comment_state_parse(enum comment_state *out, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(state_names); i++)
        if (!strcmp(name, state_names[i])) {
            *out = (enum comment_state)i;
            return true;
        }
    return false;
}

static int64_t time_or_never(const struct pg_result *r, size_t row, int column)
{
    return pg_is_null(r, row, column) ? 0 : pg_time(r, row, column);
}

static void comment_read(const struct pg_result *r, size_t row, struct comment *out)
{
    *out = (struct comment){
        .id = pg_int(r, row, 0),
        .post_id = pg_int(r, row, 1),
        .user_id = pg_int(r, row, 2),
        .parent_id = pg_int(r, row, 3),
        .depth = pg_int(r, row, 4),
        .likes = pg_int(r, row, 5),
        .content = pg_text(r, row, 6),
        .username = pg_text(r, row, 7),
        .display_name = pg_text(r, row, 8),
        .avatar_id = pg_text(r, row, 9),
        .created_at = pg_time(r, row, 10),
        .edited_at = time_or_never(r, row, 11),
        .deleted_at = time_or_never(r, row, 12),
        .held_by = pg_text(r, row, 14),
        .sentiment = pg_float(r, row, 15),
        .troll = pg_float(r, row, 16),
        .liked = pg_bool(r, row, 17),
    };
    comment_state_parse(&out->state, pg_text(r, row, 13));
}

static struct status none(void)
{
    return status_errorf(ST_NOT_FOUND, "there is no such comment");
}

static struct status comment_of(struct status st, const struct pg_result *r, struct comment *out)
{
    if (!st.code && !r->n_rows)
        return none();
    if (!st.code)
        comment_read(r, 0, out);
    return st;
}

static struct status comments_of(struct pg *db, struct status st, const struct pg_result *r, struct comment **comments,
                                 size_t *n)
{
    if (st.code)
        return st;
    *n = r->n_rows;
    *comments = arena_zalloc(db->arena, r->n_rows + 1, sizeof **comments);
    if (!*comments)
        return status_errorf(ST_EXHAUSTED, "the comments are too large for one page");
    for (size_t i = 0; i < r->n_rows; i++)
        comment_read(r, i, &(*comments)[i]);
    return st;
}

/* ---- reading ---- */

struct status comment_find(struct pg *db, int64_t id, const struct comment_view *view, struct comment *out)
{
    static const struct pg_statement find = {"comment_find", "SELECT " COLUMNS FROM "WHERE c.id = $3 AND " VISIBLE};
    struct pg_result r;
    struct status st = pg_query(db, &r, &find, PG_INT(view->viewer_id), PG_BOOL(view->all), PG_INT(id));

    return comment_of(st, &r, out);
}

struct status comment_list(struct pg *db, int64_t post_id, int64_t after_id, int64_t limit,
                           const struct comment_view *view, struct comment **comments, size_t *n)
{
    static const struct pg_statement list = {"comment_list",
                                             "SELECT " COLUMNS FROM "WHERE c.post_id = $3 AND c.id > $4 AND " VISIBLE
                                             " ORDER BY c.id LIMIT $5"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &list, PG_INT(view->viewer_id), PG_BOOL(view->all), PG_INT(post_id),
                                PG_INT(after_id), PG_INT(limit));

    return comments_of(db, st, &r, comments, n);
}

struct status comment_queue(struct pg *db, enum comment_state state, int64_t after_id, int64_t limit,
                            struct comment **comments, size_t *n)
{
    static const struct pg_statement queue = {
        "comment_queue",
        "SELECT " COLUMNS FROM
        "WHERE $1::bigint = 0 AND c.state = $2 AND c.deleted_at IS NULL AND c.id > $3 ORDER BY c.id LIMIT $4"};
    struct pg_result r;
    struct status st =
        pg_query(db, &r, &queue, PG_INT(0), PG_TEXT(comment_state_name(state)), PG_INT(after_id), PG_INT(limit));

    return comments_of(db, st, &r, comments, n);
}

static struct status read_back(struct pg *db, int64_t id, int64_t viewer_id, struct comment *out)
{
    return comment_find(db, id, &(struct comment_view){viewer_id, true}, out);
}

/* ---- writing ---- */

/* Locks the post, too: of two comments at once both are counted. */
static struct status count(struct pg *db, int64_t post_id, int64_t more)
{
    static const struct pg_statement update = {"comment_count",
                                               "UPDATE posts SET comment_count = comment_count + $2 WHERE id = $1"};

    return more ? pg_query(db, NULL, &update, PG_INT(post_id), PG_INT(more)) : status_ok();
}

static struct pg_value probability(const struct comment_labels *labels, double p)
{
    return labels ? PG_FLOAT(p) : PG_NULL;
}

static struct pg_value version(const struct comment_labels *labels, int64_t v)
{
    return labels ? PG_INT(v) : PG_NULL;
}

#define LABEL_VALUES(l)                                                                                                \
    probability((l), (l) ? (l)->sentiment : 0), version((l), (l) ? (l)->sentiment_version : 0),                        \
        probability((l), (l) ? (l)->troll : 0), version((l), (l) ? (l)->troll_version : 0)

struct creation {
    const struct comment_new *new_comment;
    struct comment *out;
};

/* An answer to the deepest stands beside it, below the same parent. */
static struct status create(struct pg *db, void *ctx)
{
    static const struct pg_statement insert = {
        "comment_create",
        "INSERT INTO comments (post_id, user_id, parent_id, depth, content, state, held_by, sentiment, "
        "sentiment_version, troll,"
        " troll_version, labelled_at) SELECT p.id, $2, CASE WHEN a.depth < 16 THEN a.id ELSE a.parent_id END,"
        " CASE WHEN a.id IS NULL THEN 0 ELSE least(a.depth + 1, 16) END, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $11 "
        "THEN now() END"
        " FROM posts p LEFT JOIN comments a ON a.id = $3 AND a.post_id = p.id AND a.deleted_at IS NULL"
        " AND (a.state = 'visible' OR a.user_id = $2)"
        " WHERE p.id = $1 AND p.deleted_at IS NULL AND p.published_at IS NOT NULL AND ($3::bigint = 0 OR a.id IS NOT "
        "NULL)"
        " RETURNING id"};
    const struct creation *c = ctx;
    const struct comment_new *n = c->new_comment;
    struct pg_result r;
    struct status st = pg_query(db, &r, &insert, PG_INT(n->post_id), PG_INT(n->user_id), PG_INT(n->parent_id),
                                PG_TEXT(n->content), PG_TEXT(comment_state_name(n->state)), PG_TEXT(n->held_by),
                                LABEL_VALUES(n->labels), PG_BOOL(n->labels != NULL));

    if (!st.code && !r.n_rows)
        return status_errorf(ST_NOT_FOUND, "there is no such post, or no such comment below it to answer");
    if (!st.code)
        st = count(db, n->post_id, n->state == COMMENT_VISIBLE);
    return st.code ? st : read_back(db, pg_int(&r, 0, 0), n->user_id, c->out);
}

struct status comment_create(struct pg *db, const struct comment_new *new_comment, struct comment *out)
{
    struct creation c = {new_comment, out};

    return pg_transaction(db, PG_READ_COMMITTED, create, &c);
}

/* The row, locked until the transaction ends. */
static struct status lock(struct pg *db, int64_t id, struct comment *out)
{
    static const struct pg_statement find = {"comment_lock", "SELECT " COLUMNS FROM "WHERE c.id = $2 FOR UPDATE OF c"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &find, PG_INT(0), PG_INT(id));

    return comment_of(st, &r, out);
}

static bool counted(const struct comment *c)
{
    return c->state == COMMENT_VISIBLE && !c->deleted_at;
}

struct edit {
    int64_t id, user_id, window_s;
    const char *content;
    const struct comment_labels *labels;
    enum comment_state state;
    const char *held_by;
    struct comment *out;
};

static struct status edit_check(const struct edit *e, const struct comment *now)
{
    if (now->user_id != e->user_id || now->deleted_at)
        return none();
    if (now->state == COMMENT_REJECTED)
        return status_errorf(ST_PRECONDITION, "a moderator has rejected this comment: it stays as it is");
    if (clock_wall() - now->created_at > e->window_s * CLOCK_SECOND)
        return status_errorf(ST_PRECONDITION, "a comment can be edited for %lld s after it was written",
                             (long long)e->window_s);
    return status_ok();
}

/* What a moderator or a model has held stays held. */
static struct status edit(struct pg *db, void *ctx)
{
    static const struct pg_statement update = {"comment_edit",
                                               "UPDATE comments SET content = $2, edited_at = now(), state = $3, "
                                               "held_by = $4, sentiment = $5, sentiment_version = $6,"
                                               " troll = $7, troll_version = $8, labelled_at = CASE WHEN $9 THEN now() "
                                               "END, label_attempts = 0, label_next = now()"
                                               " WHERE id = $1"};
    const struct edit *e = ctx;
    struct comment now = {0};
    struct status st = lock(db, e->id, &now);

    if (!st.code)
        st = edit_check(e, &now);
    if (st.code)
        return st;
    bool stays = now.state == COMMENT_HELD;
    enum comment_state state = stays ? COMMENT_HELD : e->state;
    st = pg_query(db, NULL, &update, PG_INT(e->id), PG_TEXT(e->content), PG_TEXT(comment_state_name(state)),
                  PG_TEXT(stays ? now.held_by : e->held_by), LABEL_VALUES(e->labels), PG_BOOL(e->labels != NULL));
    if (!st.code)
        st = count(db, now.post_id, (state == COMMENT_VISIBLE) - counted(&now));
    return st.code ? st : read_back(db, e->id, e->user_id, e->out);
}

struct status comment_edit(struct pg *db, int64_t id, int64_t user_id, int64_t window_s, const char *content,
                           const struct comment_labels *labels, enum comment_state state, const char *held_by,
                           struct comment *out)
{
    struct edit e = {id, user_id, window_s, content, labels, state, held_by, out};

    return pg_transaction(db, PG_READ_COMMITTED, edit, &e);
}

struct of_user {
    int64_t id, user_id;
    bool like;
    int64_t *likes;
};

static struct status delete (struct pg *db, void *ctx)
{
    static const struct pg_statement row = {
        "comment_delete_row",
        "DELETE FROM comments c WHERE c.id = $1 AND NOT EXISTS (SELECT 1 FROM comments a WHERE a.parent_id = c.id)"};
    static const struct pg_statement text = {
        "comment_delete_text", "UPDATE comments SET content = '', deleted_at = now(), likes = 0 WHERE id = $1"};
    static const struct pg_statement likes = {"comment_delete_likes",
                                              "DELETE FROM comment_likes WHERE comment_id = $1"};
    const struct of_user *d = ctx;
    struct comment now = {0};
    struct pg_result r;
    struct status st = lock(db, d->id, &now);

    if (!st.code && (now.deleted_at || (d->user_id != -1 && d->user_id != now.user_id)))
        st = none();
    if (!st.code)
        st = count(db, now.post_id, -(int64_t)counted(&now));
    if (!st.code)
        st = pg_query(db, &r, &row, PG_INT(d->id));
    if (st.code || r.n_affected)
        return st;
    st = pg_query(db, NULL, &text, PG_INT(d->id));
    return st.code ? st : pg_query(db, NULL, &likes, PG_INT(d->id));
}

struct status comment_delete(struct pg *db, int64_t id, int64_t user_id)
{
    struct of_user d = {.id = id, .user_id = user_id};

    return pg_transaction(db, PG_READ_COMMITTED, delete, &d);
}

static struct status like(struct pg *db, void *ctx)
{
    static const struct pg_statement add = {
        "comment_like", "INSERT INTO comment_likes (comment_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"};
    static const struct pg_statement take = {"comment_unlike",
                                             "DELETE FROM comment_likes WHERE comment_id = $1 AND user_id = $2"};
    static const struct pg_statement total = {
        "comment_likes", "UPDATE comments SET likes = likes + $2 WHERE id = $1 RETURNING likes::bigint"};
    const struct of_user *l = ctx;
    struct comment now = {0};
    struct pg_result r;
    struct status st = lock(db, l->id, &now);

    if (!st.code && !counted(&now))
        st = none();
    if (!st.code && now.user_id == l->user_id)
        st = status_errorf(ST_PRECONDITION, "one's own comment cannot be liked");
    if (!st.code)
        st = pg_query(db, &r, l->like ? &add : &take, PG_INT(l->id), PG_INT(l->user_id));
    if (!st.code)
        st = pg_query(db, &r, &total, PG_INT(l->id), PG_INT(l->like ? r.n_affected : -r.n_affected));
    if (!st.code)
        *l->likes = pg_int(&r, 0, 0);
    return st;
}

struct status comment_like(struct pg *db, int64_t id, int64_t user_id, bool like_it, int64_t *likes)
{
    struct of_user l = {id, user_id, like_it, likes};

    return pg_transaction(db, PG_READ_COMMITTED, like, &l);
}

/* ---- labels that came later ---- */

/* The lease doubles with every attempt, up to an hour. */
struct status comment_claim(struct pg *db, int64_t limit, int64_t lease_s, struct comment_text **texts, size_t *n)
{
    static const struct pg_statement claim = {"comment_claim",
                                              "UPDATE comments SET label_attempts = least(label_attempts + 1, 100), "
                                              "label_next = now() + make_interval(secs =>"
                                              " least($2 * power(2, least(label_attempts, 12)), 3600)) WHERE id IN "
                                              "(SELECT id FROM comments WHERE labelled_at IS NULL"
                                              " AND deleted_at IS NULL AND label_next <= now() ORDER BY label_next "
                                              "LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id, content"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &claim, PG_INT(limit), PG_FLOAT((double)lease_s));

    if (st.code)
        return st;
    *n = r.n_rows;
    *texts = arena_zalloc(db->arena, r.n_rows + 1, sizeof **texts);
    if (!*texts)
        return status_errorf(ST_EXHAUSTED, "the comments are too large to be labelled at once");
    for (size_t i = 0; i < r.n_rows; i++)
        (*texts)[i] = (struct comment_text){pg_int(&r, i, 0), pg_text(&r, i, 1)};
    return st;
}

struct late {
    const struct comment_text *text;
    const struct comment_labels *labels;
    bool hold;
};

static struct status label(struct pg *db, void *ctx)
{
    static const struct pg_statement update = {
        "comment_label",
        "UPDATE comments SET sentiment = $2, sentiment_version = $3, troll = $4, troll_version = $5, labelled_at = "
        "now(),"
        " held_by = CASE WHEN $6 AND state = 'visible' THEN 'model' ELSE held_by END,"
        " state = CASE WHEN $6 AND state = 'visible' THEN 'held' ELSE state END WHERE id = $1 AND labelled_at IS NULL"};
    const struct late *l = ctx;
    struct comment now = {0};
    struct pg_result r;
    struct status st = lock(db, l->text->id, &now);

    if (st.code == ST_NOT_FOUND || (!st.code && strcmp(now.content, l->text->content) != 0))
        return status_ok();
    if (!st.code)
        st = pg_query(db, &r, &update, PG_INT(now.id), LABEL_VALUES(l->labels), PG_BOOL(l->hold));
    if (!st.code && r.n_affected && l->hold && counted(&now))
        st = count(db, now.post_id, -1);
    return st;
}

struct status comment_label(struct pg *db, const struct comment_text *text, const struct comment_labels *labels,
                            bool hold)
{
    struct late l = {text, labels, hold};

    return pg_transaction(db, PG_READ_COMMITTED, label, &l);
}

/* ---- moderation ---- */

struct decision {
    int64_t id;
    enum comment_state state, *before;
    struct comment *out;
};

static struct status moderate(struct pg *db, void *ctx)
{
    static const struct pg_statement update = {
        "comment_moderate",
        "UPDATE comments SET state = $2, held_by = CASE WHEN $2 = 'visible' THEN NULL ELSE 'admin' END WHERE id = $1"};
    const struct decision *d = ctx;
    struct comment now = {0};
    struct status st = lock(db, d->id, &now);

    if (!st.code && now.deleted_at)
        st = none();
    if (!st.code)
        st = pg_query(db, NULL, &update, PG_INT(d->id), PG_TEXT(comment_state_name(d->state)));
    if (!st.code)
        st = count(db, now.post_id, (d->state == COMMENT_VISIBLE) - counted(&now));
    *d->before = now.state;
    return st.code ? st : read_back(db, d->id, 0, d->out);
}

struct status comment_moderate(struct pg *db, int64_t id, enum comment_state state, enum comment_state *before,
                               struct comment *out)
{
    struct decision d = {id, state, before, out};

    return pg_transaction(db, PG_READ_COMMITTED, moderate, &d);
}
