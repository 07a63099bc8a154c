/* user_store.c - see user_store.h. */
#include "user_store.h"

#include <string.h>
#include <utf8proc.h>

#define NAME_MAX_POINTS 32

/* In the order of user_read(). */
#define COLUMNS "id, name, display_name, bio, role, coalesce(avatar_id::text, ''), created_at, disabled_at IS NOT NULL"

static const char *const role_names[] = {[USER_READER] = "reader", [USER_AUTHOR] = "author", [USER_ADMIN] = "admin"};

const char *user_role_name(enum user_role role)
{
    return role_names[role];
}

bool user_role_parse(enum user_role *out, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(role_names); i++)
        if (!strcmp(name, role_names[i])) {
            *out = (enum user_role)i;
            return true;
        }
    return false;
}

/* ---- names ---- */

static bool is_letter(utf8proc_int32_t c)
{
    utf8proc_category_t category = utf8proc_category(c);

    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) || category == UTF8PROC_CATEGORY_ND;
}

struct status user_name_check(const char *name)
{
    size_t n = 0;

    for (const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)name; *at; n++) {
        utf8proc_int32_t c;
        utf8proc_ssize_t size = utf8proc_iterate(at, -1, &c);
        if (size < 1)
            return status_errorf(ST_INVALID, "name: not valid UTF-8");
        if (!is_letter(c) && (!n || c > 0x7F || !strchr("_-.", (int)c)))
            return status_errorf(ST_INVALID, "name: letters and digits, and after the first '_', '-' and '.'");
        at += size;
    }
    if (n < 2 || n > NAME_MAX_POINTS)
        return status_errorf(ST_INVALID, "name: 2 to %d characters, not %zu", NAME_MAX_POINTS, n);
    return status_ok();
}

/* ---- rows ---- */

static void user_read(const struct pg_result *r, size_t row, struct user *out)
{
    *out = (struct user){.id = pg_int(r, row, 0),
                         .name = pg_text(r, row, 1),
                         .display_name = pg_text(r, row, 2),
                         .bio = pg_text(r, row, 3),
                         .avatar_id = pg_text(r, row, 5),
                         .created_at = pg_time(r, row, 6),
                         .disabled = pg_bool(r, row, 7)};
    user_role_parse(&out->role, pg_text(r, row, 4));
}

static struct status nobody(void)
{
    return status_errorf(ST_NOT_FOUND, "there is no such user");
}

static struct status user_of(struct status st, const struct pg_result *r, struct user *out)
{
    if (!st.code && !r->n_rows)
        return nobody();
    if (!st.code)
        user_read(r, 0, out);
    return st;
}

struct status user_create(struct pg *db, const char *name, const char *display_name, const char *password_hash,
                          enum user_role role, struct user *out)
{
    static const struct pg_statement insert = {
        "user_create",
        "INSERT INTO users (name, display_name, password_hash, role) VALUES ($1, $2, $3, $4) RETURNING " COLUMNS};
    struct pg_result r;
    struct status st = pg_query(db, &r, &insert, PG_TEXT(name), PG_TEXT(display_name), PG_TEXT(password_hash),
                                PG_TEXT(user_role_name(role)));

    if (st.code == ST_EXISTS)
        return status_errorf(ST_EXISTS, "name: %s is taken", name);
    return user_of(st, &r, out);
}

struct status user_find(struct pg *db, const char *name, struct user *out)
{
    static const struct pg_statement find = {
        "user_find", "SELECT " COLUMNS " FROM users WHERE lower(name) = lower($1) AND erased_at IS NULL"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &find, PG_TEXT(name));

    return user_of(st, &r, out);
}

struct status user_find_id(struct pg *db, int64_t id, struct user *out)
{
    static const struct pg_statement find = {"user_find_id",
                                             "SELECT " COLUMNS " FROM users WHERE id = $1 AND erased_at IS NULL"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &find, PG_INT(id));

    return user_of(st, &r, out);
}

static struct status login_of(struct status st, const struct pg_result *r, struct user_login *out)
{
    st = user_of(st, r, &out->user);
    if (!st.code)
        out->password_hash = pg_text(r, 0, 8);
    return st;
}

struct status user_find_login(struct pg *db, const char *name, struct user_login *out)
{
    static const struct pg_statement find = {
        "user_find_login",
        "SELECT " COLUMNS ", password_hash FROM users WHERE lower(name) = lower($1) AND erased_at IS NULL"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &find, PG_TEXT(name));

    return login_of(st, &r, out);
}

struct status user_find_login_id(struct pg *db, int64_t id, struct user_login *out)
{
    static const struct pg_statement find = {
        "user_find_login_id", "SELECT " COLUMNS ", password_hash FROM users WHERE id = $1 AND erased_at IS NULL"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &find, PG_INT(id));

    return login_of(st, &r, out);
}

struct status user_list(struct pg *db, const char *part, int64_t after_id, int64_t limit, struct user **users,
                        size_t *n)
{
    static const struct pg_statement list = {
        "user_list",
        "SELECT " COLUMNS " FROM users WHERE id > $1 AND erased_at IS NULL"
        " AND ($2 = '' OR strpos(lower(name), lower($2)) > 0 OR strpos(lower(display_name), lower($2)) > 0)"
        " ORDER BY id LIMIT $3"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &list, PG_INT(after_id), PG_TEXT(part), PG_INT(limit));

    if (st.code)
        return st;
    *n = r.n_rows;
    *users = arena_zalloc(db->arena, r.n_rows + 1, sizeof **users);
    if (!*users)
        return status_errorf(ST_EXHAUSTED, "the users are too many for one page");
    for (size_t i = 0; i < r.n_rows; i++)
        user_read(&r, i, &(*users)[i]);
    return st;
}

/* ---- changes ---- */

/* One row has to be changed. */
static struct status changed(struct status st, const struct pg_result *r)
{
    return !st.code && !r->n_affected ? nobody() : st;
}

struct status user_change_profile(struct pg *db, int64_t id, const char *display_name, const char *bio,
                                  struct user *out)
{
    static const struct pg_statement update = {
        "user_change_profile", "UPDATE users SET display_name = coalesce($2, display_name), bio = coalesce($3, bio)"
                               " WHERE id = $1 AND erased_at IS NULL RETURNING " COLUMNS};
    struct pg_result r;
    struct status st = pg_query(db, &r, &update, PG_INT(id), PG_TEXT(display_name), PG_TEXT(bio));

    return user_of(st, &r, out);
}

struct status user_change_password(struct pg *db, int64_t id, const char *password_hash)
{
    static const struct pg_statement update = {
        "user_change_password",
        "UPDATE users SET password_hash = $2, password_changed_at = now() WHERE id = $1 AND erased_at IS NULL"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &update, PG_INT(id), PG_TEXT(password_hash));

    return changed(st, &r);
}

struct status user_change_avatar(struct pg *db, int64_t id, const char *media_id)
{
    static const struct pg_statement update = {
        "user_change_avatar", "UPDATE users SET avatar_id = $2::text::uuid WHERE id = $1 AND erased_at IS NULL"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &update, PG_INT(id), PG_TEXT(media_id));

    return changed(st, &r);
}

/* ---- what must leave an admin ---- */

/* Locks the admins, so that two of them do not go at once, and refuses when this one is the last. */
static struct status another_admin(struct pg *db, int64_t id)
{
    static const struct pg_statement admins = {
        "user_admins", "SELECT id FROM users WHERE role = 'admin' AND disabled_at IS NULL AND erased_at IS NULL"
                       " ORDER BY id FOR UPDATE"};
    struct pg_result r;
    struct status st = pg_query(db, &r, &admins);

    if (!st.code && r.n_rows == 1 && pg_int(&r, 0, 0) == id)
        return status_errorf(ST_PRECONDITION, "this is the last admin: make another one first");
    return st;
}

struct change {
    int64_t id;
    enum user_role role;
    bool disabled;
};

static struct status role_change(struct pg *db, void *ctx)
{
    static const struct pg_statement update = {"user_change_role",
                                               "UPDATE users SET role = $2 WHERE id = $1 AND erased_at IS NULL"};
    const struct change *c = ctx;
    struct status st = c->role == USER_ADMIN ? status_ok() : another_admin(db, c->id);
    struct pg_result r;

    if (!st.code)
        st = pg_query(db, &r, &update, PG_INT(c->id), PG_TEXT(user_role_name(c->role)));
    return st.code ? st : changed(st, &r);
}

struct status user_change_role(struct pg *db, int64_t id, enum user_role role)
{
    struct change c = {.id = id, .role = role};

    return pg_transaction(db, PG_READ_COMMITTED, role_change, &c);
}

static struct status disable(struct pg *db, void *ctx)
{
    static const struct pg_statement update = {
        "user_disable", "UPDATE users SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END"
                        " WHERE id = $1 AND erased_at IS NULL"};
    const struct change *c = ctx;
    struct status st = c->disabled ? another_admin(db, c->id) : status_ok();
    struct pg_result r;

    if (!st.code)
        st = pg_query(db, &r, &update, PG_INT(c->id), PG_BOOL(c->disabled));
    return st.code ? st : changed(st, &r);
}

struct status user_disable(struct pg *db, int64_t id, bool disabled)
{
    struct change c = {.id = id, .disabled = disabled};

    return pg_transaction(db, PG_READ_COMMITTED, disable, &c);
}

/* Of comments that nobody else answered, however far below, the rows go. */
static struct status erase(struct pg *db, void *ctx)
{
    static const struct pg_statement steps[] = {
        {"user_erase_likes", "WITH gone AS (DELETE FROM comment_likes WHERE user_id = $1 RETURNING comment_id)"
                             " UPDATE comments SET likes = likes - 1 FROM gone WHERE id = gone.comment_id"},
        {"user_erase_samples", "DELETE FROM samples WHERE user_id = $1"},
        {"user_erase_posts", "DELETE FROM posts WHERE author_id = $1"},
        {"user_erase_counts",
         "UPDATE posts SET comment_count = comment_count - gone.n FROM (SELECT post_id, count(*) AS n FROM comments"
         " WHERE user_id = $1 AND state = 'visible' AND deleted_at IS NULL GROUP BY post_id) gone WHERE id = "
         "gone.post_id"},
        {"user_erase_unanswered",
         "WITH RECURSIVE kept AS (SELECT p.id, p.parent_id FROM comments c JOIN comments p ON p.id = c.parent_id"
         " WHERE p.user_id = $1 AND c.user_id <> $1 UNION SELECT p.id, p.parent_id FROM kept k"
         " JOIN comments p ON p.id = k.parent_id) DELETE FROM comments WHERE user_id = $1 AND id NOT IN (SELECT id "
         "FROM kept)"},
        {"user_erase_texts",
         "UPDATE comments SET content = '', deleted_at = coalesce(deleted_at, now()) WHERE user_id = $1"},
        {"user_erase_media", "DELETE FROM media WHERE owner_id = $1"},
    };
    static const struct pg_statement last = {
        "user_erase", "UPDATE users SET name = 'erased/' || id, display_name = '-', bio = '', password_hash = NULL,"
                      " role = 'reader', erased_at = now() WHERE id = $1 AND erased_at IS NULL"};
    int64_t id = ((const struct change *)ctx)->id;
    struct status st = another_admin(db, id);
    struct pg_result r;

    for (size_t i = 0; i < COUNT_OF(steps) && !st.code; i++)
        st = pg_query(db, NULL, &steps[i], PG_INT(id));
    if (!st.code)
        st = pg_query(db, &r, &last, PG_INT(id));
    return st.code ? st : changed(st, &r);
}

struct status user_erase(struct pg *db, int64_t id)
{
    struct change c = {.id = id};

    return pg_transaction(db, PG_READ_COMMITTED, erase, &c);
}

struct status user_export(struct pg *db, int64_t id, const char **json)
{
#define ROWS(of, columns, from)                                                                                        \
    " '" of "', (SELECT coalesce(json_agg(row_to_json(r)), '[]') FROM (SELECT " columns " FROM " from " ORDER BY 1) "  \
    "r)"
    static const struct pg_statement export = {
        "user_export",
        "SELECT json_build_object('user', (SELECT row_to_json(r) FROM (SELECT id, name, display_name, bio, role, "
        "created_at"
        " FROM users WHERE id = $1) r)," ROWS(
            "posts",
            "id, slug, title, summary, markdown, language, cover_alt, created_at, updated_at,"
            " published_at",
            "posts WHERE author_id = $1 AND deleted_at IS NULL") "," ROWS("comments",
                                                                          "id, post_id, parent_id, content, state, "
                                                                          "created_at, edited_at, sentiment, troll",
                                                                          "comments WHERE user_id = $1 AND deleted_at "
                                                                          "IS NULL") "," ROWS("likes",
                                                                                              "comment_id, created_at",
                                                                                              "comment_likes WHERE "
                                                                                              "user_id = $1") "," ROWS("pictures",
                                                                                                                       "id, content_type, width, height, created_at",
                                                                                                                       "media WHERE owner_id = $1") "," ROWS("samples",
                                                                                                                                                             "id, task, text, label, source, created_at",
                                                                                                                                                             "samples WHERE user_id = $1") ")::text"};
#undef ROWS
    struct pg_result r;
    struct status st = pg_query(db, &r, &export, PG_INT(id));

    if (!st.code)
        *json = pg_text(&r, 0, 0);
    return st;
}

/* ---- the first admin ---- */

struct first {
    const char *name, *password_hash;
    bool made;
};

static struct status first_admin(struct pg *db, void *ctx)
{
    static const struct pg_statement lock = {"user_first_admin_lock", "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"};
    static const struct pg_statement any = {"user_any_admin",
                                            "SELECT 1 FROM users WHERE role = 'admin' AND erased_at IS NULL LIMIT 1"};
    struct first *f = ctx;
    struct pg_result r;
    struct user user;
    struct status st = pg_query(db, NULL, &lock);

    f->made = false;
    if (!st.code)
        st = pg_query(db, &r, &any);
    if (!st.code && !r.n_rows) {
        st = user_create(db, f->name, f->name, f->password_hash, USER_ADMIN, &user);
        f->made = !st.code;
    }
    return st;
}

struct status user_first_admin(struct pg *db, const char *name, const char *password_hash, bool *made)
{
    struct first f = {name, password_hash, false};
    struct status st = user_name_check(name);

    if (!st.code)
        st = pg_transaction(db, PG_READ_COMMITTED, first_admin, &f);
    *made = f.made;
    return st;
}
