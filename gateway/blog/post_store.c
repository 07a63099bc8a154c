/* post_store.c - see post_store.h. */
#include "post_store.h"

#include "slug.h"

#include <stdio.h>
#include <string.h>

/* In the order of post_read(). */
#define COLUMNS                                                                                                        \
    "p.id, p.version, p.comment_count, u.id, u.name, u.display_name, coalesce(u.avatar_id::text, ''), p.slug, "        \
    "p.title,"                                                                                                         \
    " p.summary, p.language, coalesce(p.cover_id::text, ''), p.cover_alt,"                                             \
    " (SELECT coalesce(json_agg(t.name ORDER BY t.name), '[]')::text FROM post_tags x JOIN tags t ON t.id = x.tag_id"  \
    " WHERE x.post_id = p.id), p.created_at, p.updated_at, p.published_at"
#define FROM " FROM posts p JOIN users u ON u.id = p.author_id "

static void post_read(const struct pg_result *r, size_t row, struct post *out)
{
    *out = (struct post){
        .id = pg_int(r, row, 0),
        .version = pg_int(r, row, 1),
        .n_comments = pg_int(r, row, 2),
        .author = {pg_int(r, row, 3), pg_text(r, row, 4), pg_text(r, row, 5), pg_text(r, row, 6)},
        .slug = pg_text(r, row, 7),
        .title = pg_text(r, row, 8),
        .summary = pg_text(r, row, 9),
        .language = pg_text(r, row, 10),
        .cover_id = pg_text(r, row, 11),
        .cover_alt = pg_text(r, row, 12),
        .tags = pg_text(r, row, 13),
        .created_at = pg_time(r, row, 14),
        .updated_at = pg_time(r, row, 15),
        .published_at = pg_is_null(r, row, 16) ? 0 : pg_time(r, row, 16),
        .markdown = r->n_columns > 17 ? pg_text(r, row, 17) : "",
        .html = r->n_columns > 18 ? pg_text(r, row, 18) : "",
    };
}

static struct status none(void)
{
    return status_errorf(ST_NOT_FOUND, "there is no such post");
}

/* ---- reading ---- */

/* A slug is never a number, so that one word says both. */
static int64_t number_of(const char *text)
{
    int64_t n = 0;

    if (!*text || strlen(text) > 18)
        return 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return 0;
        n = n * 10 + (*text - '0');
    }
    return n;
}

struct status post_find(struct pg *db, const char *id_or_slug, int64_t viewer_id, struct post *out)
{
    static const struct pg_statement find = {"post_find",
                                             "SELECT " COLUMNS ", p.markdown, p.html" FROM
                                             "WHERE (p.id = $1 OR p.slug = $2) AND p.deleted_at IS NULL"
                                             " AND (p.published_at IS NOT NULL OR p.author_id = $3 OR $3 = -1)"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &find, PG_INT(number_of(id_or_slug)), PG_TEXT(id_or_slug), PG_INT(viewer_id));

    if (!st.code && !r.n_rows)
        return none();
    if (!st.code)
        post_read(&r, 0, out);
    return st;
}

static struct status list(struct pg *db, const struct post_filter *f, struct pg_result *r)
{
    static const struct pg_statement newest = {
        "post_list",
        "SELECT " COLUMNS FROM "WHERE p.published_at IS NOT NULL AND p.deleted_at IS NULL"
        " AND ($1::bigint = 0 OR (p.published_at, p.id) < ($2, $1)) AND ($3::text IS NULL OR EXISTS"
        " (SELECT 1 FROM post_tags x JOIN tags t ON t.id = x.tag_id WHERE x.post_id = p.id AND lower(t.name) = "
        "lower($3)))"
        " AND ($4::text IS NULL OR lower(u.name) = lower($4)) ORDER BY p.published_at DESC, p.id DESC LIMIT $5"};
    static const struct pg_statement drafts = {
        "post_list_drafts",
        "SELECT " COLUMNS FROM "WHERE p.published_at IS NULL AND p.deleted_at IS NULL AND p.author_id = $1"
        " AND ($2::bigint = 0 OR (p.updated_at, p.id) < ($3, $2))"
        " ORDER BY p.updated_at DESC, p.id DESC LIMIT $4"};
    static const struct pg_statement best = {
        "post_search", "SELECT " COLUMNS FROM
                       "WHERE p.published_at IS NOT NULL AND p.deleted_at IS NULL AND p.search @@ $1::text::tsquery"
                       " AND ($2::text IS NULL OR EXISTS"
                       " (SELECT 1 FROM post_tags x JOIN tags t ON t.id = x.tag_id WHERE x.post_id = p.id AND "
                       "lower(t.name) = lower($2)))"
                       " AND ($3::text IS NULL OR lower(u.name) = lower($3))"
                       " ORDER BY ts_rank(p.search, $1::text::tsquery) DESC, p.id DESC LIMIT $4 OFFSET $5"};

    if (f->drafts_of)
        return pg_query(db, r, &drafts, PG_INT(f->drafts_of), PG_INT(f->before_id), PG_TIME(f->before),
                        PG_INT(f->limit));
    if (f->query)
        return pg_query(db, r, &best, PG_TEXT(f->query), PG_TEXT(f->tag), PG_TEXT(f->author), PG_INT(f->limit),
                        PG_INT(f->offset));
    return pg_query(db, r, &newest, PG_INT(f->before_id), PG_TIME(f->before), PG_TEXT(f->tag), PG_TEXT(f->author),
                    PG_INT(f->limit));
}

struct status post_list(struct pg *db, const struct post_filter *filter, struct post **posts, size_t *n)
{
    struct pg_result r;
    struct status st = list(db, filter, &r);

    if (st.code)
        return st;
    *n = r.n_rows;
    *posts = arena_zalloc(db->arena, r.n_rows + 1, sizeof **posts);
    if (!*posts)
        return status_errorf(ST_EXHAUSTED, "the posts are too large for one page");
    for (size_t i = 0; i < r.n_rows; i++)
        post_read(&r, i, &(*posts)[i]);
    return st;
}

struct status post_tags(struct pg *db, int64_t limit, const char **json)
{
    static const struct pg_statement tags = {
        "post_tags",
        "SELECT coalesce(json_agg(json_build_object('name', name, 'posts', n)), '[]')::text FROM (SELECT t.name,"
        " count(*) AS n FROM tags t JOIN post_tags x ON x.tag_id = t.id JOIN posts p ON p.id = x.post_id"
        " WHERE p.published_at IS NOT NULL AND p.deleted_at IS NULL GROUP BY t.name"
        " ORDER BY n DESC, t.name LIMIT $1) ranked"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &tags, PG_INT(limit));

    if (!st.code)
        *json = pg_text(&r, 0, 0);
    return st;
}

/* ---- writing ---- */

struct edit {
    int64_t id, author_id, version;
    const struct post_draft *draft;
    struct post *out;
};

/* A JSON array of names becomes the post's tags; those that nobody has used before are made. */
static struct status tags_write(struct pg *db, int64_t id, const char *tags)
{
    static const struct pg_statement make = {
        "tags_make",
        "INSERT INTO tags (name) SELECT DISTINCT ON (lower(name)) name FROM json_array_elements_text($1::text::json)"
        " AS name ORDER BY lower(name) ON CONFLICT DO NOTHING"};
    static const struct pg_statement clear = {"post_tags_clear", "DELETE FROM post_tags WHERE post_id = $1"};
    static const struct pg_statement set = {
        "post_tags_set", "INSERT INTO post_tags (post_id, tag_id) SELECT $1, id FROM tags WHERE lower(name) IN"
                         " (SELECT lower(value) FROM json_array_elements_text($2::text::json))"};
    struct status st = pg_query(db, NULL, &make, PG_TEXT(tags));

    if (!st.code)
        st = pg_query(db, NULL, &clear, PG_INT(id));
    if (!st.code)
        st = pg_query(db, NULL, &set, PG_INT(id), PG_TEXT(tags));
    return st;
}

static struct status read_back(struct pg *db, int64_t id, struct post *out)
{
    char number[24];

    snprintf(number, sizeof number, "%lld", (long long)id);
    return post_find(db, number, -1, out);
}

static struct status insert(struct pg *db, const struct edit *e, const char *slug, int64_t *id)
{
    static const struct pg_statement insert_post = {
        "post_create",
        "INSERT INTO posts (author_id, slug, title, summary, markdown, html, language, cover_id, cover_alt, search, "
        "published_at)"
        " VALUES ($1, $2, $3, coalesce($4, ''), $5, $6, coalesce($7, 'zh'), nullif($8, '')::uuid, coalesce($9, ''),"
        " $10::text::tsvector, CASE WHEN $11 THEN now() END) ON CONFLICT (slug) DO NOTHING RETURNING id"};
    const struct post_draft *d = e->draft;
    struct pg_result r;
    struct status st =
        pg_query(db, &r, &insert_post, PG_INT(e->author_id), PG_TEXT(slug), PG_TEXT(d->title), PG_TEXT(d->summary),
                 PG_TEXT(d->markdown), PG_TEXT(d->html), PG_TEXT(d->language), PG_TEXT(d->cover_id),
                 PG_TEXT(d->cover_alt), PG_TEXT(d->search), PG_BOOL(d->publish == 1));

    *id = !st.code && r.n_rows ? pg_int(&r, 0, 0) : 0;
    return st;
}

/* The title's slug, then with 2, 3, 4 behind it, then with a random number. */
static struct status create(struct pg *db, void *ctx)
{
    const struct edit *e = ctx;
    struct status st = status_ok();
    int64_t id = 0;

    for (unsigned attempt = 1; attempt <= 6 && !id && !st.code; attempt++) {
        char slug[SLUG_SIZE];
        slug_make(slug, e->draft->title, attempt);
        st = insert(db, e, slug, &id);
    }
    if (!st.code && !id)
        st = status_errorf(ST_EXISTS, "title: too many posts have it");
    if (!st.code && e->draft->tags)
        st = tags_write(db, id, e->draft->tags);
    return st.code ? st : read_back(db, id, e->out);
}

struct status post_create(struct pg *db, int64_t author_id, const struct post_draft *draft, struct post *out)
{
    struct edit e = {.author_id = author_id, .draft = draft, .out = out};

    return pg_transaction(db, PG_READ_COMMITTED, create, &e);
}

/* Nothing was changed: there is none, or it is newer. */
static struct status not_changed(struct pg *db, const struct edit *e)
{
    struct post now;
    struct status st = read_back(db, e->id, &now);

    if (st.code)
        return st;
    return status_errorf(ST_ABORTED, "version: the post has been edited since version %lld, it is at %lld now",
                         (long long)e->version, (long long)now.version);
}

static struct status edit(struct pg *db, void *ctx)
{
    static const struct pg_statement update = {
        "post_edit", "UPDATE posts SET title = coalesce($3, title), summary = coalesce($4, summary), markdown = "
                     "coalesce($5, markdown),"
                     " html = coalesce($6, html), language = coalesce($7, language),"
                     " cover_id = CASE WHEN $8::text IS NULL THEN cover_id ELSE nullif($8, '')::uuid END,"
                     " cover_alt = coalesce($9, cover_alt), search = coalesce($10::text::tsvector, search),"
                     " published_at = CASE $11::bigint WHEN 1 THEN coalesce(published_at, now()) WHEN 0 THEN NULL ELSE "
                     "published_at END,"
                     " updated_at = now(), version = version + 1 WHERE id = $1 AND ($2::bigint = 0 OR version = $2) "
                     "AND deleted_at IS NULL"};
    const struct edit *e = ctx;
    const struct post_draft *d = e->draft;
    struct pg_result r;
    struct status st = pg_query(db, &r, &update, PG_INT(e->id), PG_INT(e->version), PG_TEXT(d->title),
                                PG_TEXT(d->summary), PG_TEXT(d->markdown), PG_TEXT(d->html), PG_TEXT(d->language),
                                PG_TEXT(d->cover_id), PG_TEXT(d->cover_alt), PG_TEXT(d->search), PG_INT(d->publish));

    if (!st.code && !r.n_affected)
        return not_changed(db, e);
    if (!st.code && d->tags)
        st = tags_write(db, e->id, d->tags);
    return st.code ? st : read_back(db, e->id, e->out);
}

struct status post_edit(struct pg *db, int64_t id, int64_t version, const struct post_draft *draft, struct post *out)
{
    struct edit e = {.id = id, .version = version, .draft = draft, .out = out};

    return pg_transaction(db, PG_READ_COMMITTED, edit, &e);
}

struct status post_delete(struct pg *db, int64_t id)
{
    static const struct pg_statement update = {
        "post_delete", "UPDATE posts SET deleted_at = now() WHERE id = $1 AND deleted_at IS NULL"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &update, PG_INT(id));

    return !st.code && !r.n_affected ? none() : st;
}
