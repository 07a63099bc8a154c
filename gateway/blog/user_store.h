/* user_store.h - users as rows. Names are unique whatever their case; a user who has erased himself keeps his id and
 * nothing else. Every text in a struct user lives in db->arena. */
#ifndef BLOG_USER_STORE_H
#define BLOG_USER_STORE_H

#include "pg/pg.h"

#include <stdbool.h>

enum user_role { USER_READER, USER_AUTHOR, USER_ADMIN }; /* each may do what those before it may */

const char *user_role_name(enum user_role role);
bool user_role_parse(enum user_role *out, const char *name);

struct user {
    int64_t id;
    const char *name, *display_name, *bio;
    enum user_role role;
    const char *avatar_id; /* of media; "": none */
    int64_t created_at;    /* clock_wall() scale, like all times here */
    bool disabled;
};

/* What is needed to let somebody in. */
struct user_login {
    struct user user;
    const char *password_hash; /* "": nobody can log in */
};

/* 2 to 32 letters, digits, '_', '-' or '.' of any script, the first a letter or a digit. ST_INVALID says what is wrong. */
struct status user_name_check(const char *name);

/* ST_EXISTS: the name is taken. */
struct status user_create(struct pg *db, const char *name, const char *display_name, const char *password_hash,
                          enum user_role role, struct user *out);

/* ST_NOT_FOUND: nobody, or erased. */
struct status user_find(struct pg *db, const char *name, struct user *out);
struct status user_find_id(struct pg *db, int64_t id, struct user *out);
struct status user_find_login(struct pg *db, const char *name, struct user_login *out);
struct status user_find_login_id(struct pg *db, int64_t id, struct user_login *out);

/* NULL: stays as it is. */
struct status user_change_profile(struct pg *db, int64_t id, const char *display_name, const char *bio,
                                  struct user *out);
struct status user_change_password(struct pg *db, int64_t id, const char *password_hash);
struct status user_change_avatar(struct pg *db, int64_t id, const char *media_id); /* NULL: none */

/* By an admin. ST_PRECONDITION: nobody would be left who is one. */
struct status user_change_role(struct pg *db, int64_t id, enum user_role role);
struct status user_disable(struct pg *db, int64_t id, bool disabled);

/* Takes name, profile, password, pictures, posts, drafts, likes and samples away; comments lose their text where others
 * answered them, else they go. ST_PRECONDITION: the last admin. */
struct status user_erase(struct pg *db, int64_t id);

/* All that is kept of him as JSON: profile, posts, comments, likes, pictures (without their bytes), samples. Sessions are Redis'. */
struct status user_export(struct pg *db, int64_t id, const char **json);

/* Makes the first admin, of this name and with this hash, when there is no admin; *made tells whether. One at a time, whoever
 * else tries. */
struct status user_first_admin(struct pg *db, const char *name, const char *password_hash, bool *made);

/* Users in the order of their ids from after_id on (0: from the first), whose name or display name holds `part` ("": all).
 * *users: (*n,), at most `limit`, in db->arena. */
struct status user_list(struct pg *db, const char *part, int64_t after_id, int64_t limit, struct user **users,
                        size_t *n);

#endif
