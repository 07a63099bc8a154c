/* blog_store_test.c - users, posts and comments in a real PostgreSQL: what is unique, what is counted, what an edit in the
 * meantime means, and what is left of somebody who goes. */
#include "comment_store.h"
#include "migrations.h"
#include "post_store.h"
#include "search.h"
#include "user_store.h"

#include "pg/testing.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct pg_testing server;
static struct pg_pool *pool;
static struct arena arena;

static struct pg db(void)
{
    return pg_call(pool, clock_after_ms(20000), &arena);
}

static int64_t new_user(const char *name, enum user_role role)
{
    struct pg d = db();
    struct user user;

    or_die(user_create(&d, name, name, "hash", role, &user));
    return user.id;
}

static struct post new_post(int64_t author, const char *title, const char *body, bool publish)
{
    struct buf search = BUF_INIT(1 << 20);
    struct search_part parts[] = {{title, strlen(title), 'A'}, {body, strlen(body), 'D'}};
    struct pg d = db();
    struct post post;

    or_die(search_document(&search, parts, 2));
    struct post_draft draft = {.title = title,
                               .markdown = body,
                               .html = body,
                               .search = search.data,
                               .tags = "[\"雨\", \"Rain\"]",
                               .publish = publish};
    or_die(post_create(&d, author, &draft, &post));
    buf_fini(&search);
    return post;
}

static struct comment new_comment(int64_t post, int64_t user, int64_t parent, const char *content)
{
    struct comment_new n = {.post_id = post, .user_id = user, .parent_id = parent, .content = content};
    struct pg d = db();
    struct comment comment;

    or_die(comment_create(&d, &n, &comment));
    return comment;
}

static int64_t comment_count(int64_t post)
{
    char id[24];
    struct pg d = db();
    struct post p;

    snprintf(id, sizeof id, "%lld", (long long)post);
    or_die(post_find(&d, id, -1, &p));
    return p.n_comments;
}

/* ---- users ---- */

static void test_names_are_unique_whatever_their_case(void **state)
{
    struct pg d = db();
    struct user user;

    (void)state;
    new_user("Ada", USER_READER);
    assert_int_equal(user_create(&d, "aDA", "x", "hash", USER_READER, &user).code, ST_EXISTS);
    assert_int_equal(user_find(&d, "ADA", &user).code, ST_OK);
    assert_string_equal(user.name, "Ada");
    assert_int_equal(user_find(&d, "'; DROP TABLE users; --", &user).code, ST_NOT_FOUND);
}

static void test_names(void **state)
{
    static const char *const good[] = {"ab", "林晚", "a_b-c.9", "Ünal"},
                             *const bad[] = {"a",       "",         "a b",
                                             "-ab",     "a/b",      "a@b",
                                             "a\x01",   "\xFF\xFE", "012345678901234567890123456789012",
                                             "a\u202Eb"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_int_equal(user_name_check(good[i]).code, ST_OK);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(user_name_check(bad[i]).code, ST_INVALID);
}

/* Two admins who want to stop being ones at once: one stays. */
static void *resign(void *id)
{
    struct arena mine;

    arena_init(&mine, 1 << 20);
    struct pg d = pg_call(pool, clock_after_ms(20000), &mine);
    enum code code = user_change_role(&d, *(int64_t *)id, USER_READER).code;
    arena_fini(&mine);
    return (void *)(intptr_t)code;
}

static void test_one_admin_is_left(void **state)
{
    struct pg d = db();
    bool made;
    int64_t ids[2];
    pthread_t threads[2];
    void *codes[2];

    (void)state;
    assert_int_equal(user_first_admin(&d, "root", "hash", &made).code, ST_OK);
    assert_true(made);
    assert_int_equal(user_first_admin(&d, "root2", "hash", &made).code, ST_OK);
    assert_false(made);
    struct user user;
    or_die(user_find(&d, "root", &user));
    ids[0] = user.id;
    assert_int_equal(user_change_role(&d, ids[0], USER_READER).code, ST_PRECONDITION);
    assert_int_equal(user_disable(&d, ids[0], true).code, ST_PRECONDITION);
    assert_int_equal(user_erase(&d, ids[0]).code, ST_PRECONDITION);
    ids[1] = new_user("deputy", USER_ADMIN);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, resign, &ids[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], &codes[i]);
    assert_int_equal((intptr_t)codes[0] + (intptr_t)codes[1], ST_PRECONDITION);
}

static void test_somebody_who_goes_takes_his_texts_along(void **state)
{
    int64_t gone = new_user("gone", USER_AUTHOR), stays = new_user("stays", USER_AUTHOR);
    struct post own = new_post(gone, "mine", "a", true), other = new_post(stays, "theirs", "b", true);
    struct comment answered = new_comment(other.id, gone, 0, "answered"),
                   answer = new_comment(other.id, stays, answered.id, "answer");
    struct comment alone = new_comment(other.id, gone, 0, "alone"),
                   to_self = new_comment(other.id, gone, alone.id, "to self");
    struct pg d = db();
    struct comment_view all = {0, true};
    struct comment c;
    struct user user;
    struct post p;
    int64_t likes;

    (void)state;
    or_die(comment_like(&d, answer.id, gone, true, &likes));
    assert_int_equal(likes, 1);
    or_die(user_erase(&d, gone));
    assert_int_equal(user_find_id(&d, gone, &user).code, ST_NOT_FOUND);
    assert_int_equal(user_find(&d, "gone", &user).code, ST_NOT_FOUND);
    assert_int_equal(post_find(&d, own.slug, -1, &p).code, ST_NOT_FOUND);
    or_die(comment_find(&d, answered.id, &all, &c));
    assert_string_equal(c.content, "");
    assert_true(c.deleted_at > 0);
    assert_int_equal(comment_find(&d, alone.id, &all, &c).code, ST_NOT_FOUND);
    assert_int_equal(comment_find(&d, to_self.id, &all, &c).code, ST_NOT_FOUND);
    or_die(comment_find(&d, answer.id, &all, &c));
    assert_int_equal(c.likes, 0);
    assert_int_equal(comment_count(other.id), 1);
    new_user("gone", USER_READER); /* the name is free again */
}

/* ---- posts ---- */

static void test_drafts_are_their_authors(void **state)
{
    int64_t author = new_user("drafter", USER_AUTHOR);
    struct post draft = new_post(author, "秘密", "x", false);
    struct pg d = db();
    struct post p;

    (void)state;
    assert_int_equal(post_find(&d, draft.slug, 0, &p).code, ST_NOT_FOUND);
    assert_int_equal(post_find(&d, draft.slug, author + 1, &p).code, ST_NOT_FOUND);
    assert_int_equal(post_find(&d, draft.slug, author, &p).code, ST_OK);
    or_die(post_edit(&d, draft.id, draft.version, &(struct post_draft){.publish = 1}, &p));
    assert_true(p.published_at > 0);
    assert_string_equal(p.title, "秘密");
    assert_int_equal(post_find(&d, draft.slug, 0, &p).code, ST_OK);
    or_die(post_delete(&d, draft.id));
    assert_int_equal(post_find(&d, draft.slug, -1, &p).code, ST_NOT_FOUND);
    assert_int_equal(post_delete(&d, draft.id).code, ST_NOT_FOUND);
}

static void test_slugs_are_unique(void **state)
{
    int64_t author = new_user("slugger", USER_AUTHOR);

    (void)state;
    assert_string_equal(new_post(author, "Same title", "a", true).slug, "same-title");
    assert_string_equal(new_post(author, "same Title!", "a", true).slug, "same-title-2");
    for (int i = 0; i < 4; i++)
        new_post(author, "same title", "a", true);
}

static void test_two_editors_do_not_undo_each_other(void **state)
{
    struct post first = new_post(new_user("editor", USER_AUTHOR), "edited", "a", true), p;
    struct pg d = db();

    (void)state;
    or_die(post_edit(&d, first.id, first.version, &(struct post_draft){.summary = "mine", .publish = -1}, &p));
    struct status st =
        post_edit(&d, first.id, first.version, &(struct post_draft){.summary = "yours", .publish = -1}, &p);
    assert_int_equal(st.code, ST_ABORTED);
    or_die(post_edit(&d, first.id, 0, &(struct post_draft){.summary = "anyway", .tags = "[]", .publish = -1}, &p));
    assert_string_equal(p.summary, "anyway");
    assert_string_equal(p.tags, "[]");
}

static size_t found(const char *words)
{
    struct buf query = BUF_INIT(4096);
    struct pg d = db();
    struct post *posts;
    size_t n;

    or_die(search_query(&query, words, strlen(words)));
    or_die(post_list(&d, &(struct post_filter){.query = query.data, .limit = 10}, &posts, &n));
    buf_fini(&query);
    return n;
}

static void test_chinese_is_found(void **state)
{
    int64_t author = new_user("seeker", USER_AUTHOR);

    (void)state;
    new_post(author, "杭州西湖", "湖上的雨是横着来的，带一把 gRPC 雨伞。", true);
    new_post(author, "没有发表的杭州西湖", "草稿", false);
    assert_int_equal(found("西湖"), 1);
    assert_int_equal(found("州西"), 1);
    assert_int_equal(found("湖西"), 0);
    assert_int_equal(found("横"), 1);
    assert_int_equal(found("grp 西湖"), 1);
    assert_int_equal(found("ＧＲＰＣ"), 1);
    assert_int_equal(found("' & ! | <-> 西湖:*"), 1);
}

static void test_pages_go_on_where_they_ended(void **state)
{
    int64_t author = new_user("pager", USER_AUTHOR), seen[7] = {0};
    struct post_filter f = {.author = "PAGER", .limit = 3};
    struct pg d = db();
    struct post *posts;
    size_t n, total = 0;

    (void)state;
    for (int i = 0; i < 7; i++)
        new_post(author, "page", "a", true);
    do {
        or_die(post_list(&d, &f, &posts, &n));
        for (size_t i = 0; i < n && total < 7; i++)
            seen[total++] = posts[i].id;
        if (n) {
            f.before = posts[n - 1].published_at;
            f.before_id = posts[n - 1].id;
        }
    } while (n);
    assert_int_equal(total, 7);
    for (int i = 1; i < 7; i++)
        assert_true(seen[i] < seen[i - 1]);
}

/* ---- comments ---- */

static void test_threads(void **state)
{
    int64_t user = new_user("threader", USER_AUTHOR);
    struct post post = new_post(user, "thread", "a", true), other = new_post(user, "other", "a", true);
    struct comment c = new_comment(post.id, user, 0, "0");
    struct comment_new wrong = {.post_id = other.id, .user_id = user, .parent_id = c.id, .content = "x"};
    struct pg d = db();
    struct comment out, *page;
    size_t n;

    (void)state;
    for (int i = 1; i < COMMENT_MAX_DEPTH + 3; i++) {
        c = new_comment(post.id, user, c.id, "answer");
        assert_int_equal(c.depth, i < COMMENT_MAX_DEPTH ? i : COMMENT_MAX_DEPTH);
    }
    assert_int_equal(comment_create(&d, &wrong, &out).code, ST_NOT_FOUND);
    wrong = (struct comment_new){.post_id = 1LL << 40, .user_id = user, .content = "x"};
    assert_int_equal(comment_create(&d, &wrong, &out).code, ST_NOT_FOUND);
    or_die(comment_list(&d, post.id, 0, COMMENT_MAX_PAGE, &(struct comment_view){0}, &page, &n));
    assert_int_equal(n, COMMENT_MAX_DEPTH + 3);
    assert_string_equal(page[0].content, "0");
    assert_int_equal(comment_count(post.id), COMMENT_MAX_DEPTH + 3);
}

static void test_a_held_comment_is_seen_by_its_author(void **state)
{
    int64_t author = new_user("holder", USER_AUTHOR), troll = new_user("troll", USER_READER);
    struct post post = new_post(author, "held", "a", true);
    struct comment_labels labels = {0.1, 0.97, 3, 4};
    struct comment_new n = {.post_id = post.id,
                            .user_id = troll,
                            .content = "x",
                            .labels = &labels,
                            .state = COMMENT_HELD,
                            .held_by = "model"};
    struct pg d = db();
    struct comment c, *page;
    enum comment_state before;
    size_t count;

    (void)state;
    or_die(comment_create(&d, &n, &c));
    assert_float_equal(c.troll, 0.97, 1e-6);
    assert_int_equal(comment_count(post.id), 0);
    or_die(comment_list(&d, post.id, 0, 10, &(struct comment_view){author, false}, &page, &count));
    assert_int_equal(count, 0);
    or_die(comment_list(&d, post.id, 0, 10, &(struct comment_view){troll, false}, &page, &count));
    assert_int_equal(count, 1);
    or_die(comment_queue(&d, COMMENT_HELD, c.id - 1, 10, &page, &count));
    assert_int_equal(count, 1);
    or_die(comment_moderate(&d, c.id, COMMENT_VISIBLE, &before, &c));
    assert_int_equal(before, COMMENT_HELD);
    assert_int_equal(comment_count(post.id), 1);
    or_die(comment_moderate(&d, c.id, COMMENT_REJECTED, &before, &c));
    assert_int_equal(comment_count(post.id), 0);
    assert_int_equal(comment_edit(&d, c.id, troll, 1000, "y", NULL, COMMENT_VISIBLE, NULL, &c).code, ST_PRECONDITION);
}

static void test_edit_and_delete(void **state)
{
    int64_t user = new_user("changer", USER_AUTHOR), other = new_user("changer2", USER_READER);
    struct post post = new_post(user, "change", "a", true);
    struct comment c = new_comment(post.id, user, 0, "first"), answer;
    struct pg d = db();

    (void)state;
    or_die(comment_edit(&d, c.id, user, 1000, "second", NULL, COMMENT_VISIBLE, NULL, &c));
    assert_string_equal(c.content, "second");
    assert_true(c.edited_at > 0);
    assert_int_equal(comment_edit(&d, c.id, other, 1000, "x", NULL, COMMENT_VISIBLE, NULL, &c).code, ST_NOT_FOUND);
    assert_int_equal(comment_edit(&d, c.id, user, 0, "x", NULL, COMMENT_VISIBLE, NULL, &c).code, ST_PRECONDITION);
    answer = new_comment(post.id, other, c.id, "answer");
    assert_int_equal(comment_delete(&d, c.id, other).code, ST_NOT_FOUND);
    or_die(comment_delete(&d, c.id, user));
    or_die(comment_find(&d, c.id, &(struct comment_view){0}, &c));
    assert_string_equal(c.content, "");
    assert_int_equal(comment_count(post.id), 1);
    assert_int_equal(comment_delete(&d, c.id, user).code, ST_NOT_FOUND);
    or_die(comment_delete(&d, answer.id, -1));
    assert_int_equal(comment_find(&d, answer.id, &(struct comment_view){0, true}, &answer).code, ST_NOT_FOUND);
    assert_int_equal(comment_count(post.id), 0);
}

static void test_likes_count_once(void **state)
{
    int64_t user = new_user("liked", USER_AUTHOR), fan = new_user("fan", USER_READER), likes;
    struct post post = new_post(user, "like", "a", true);
    struct comment c = new_comment(post.id, user, 0, "x");
    struct pg d = db();

    (void)state;
    for (int i = 0; i < 2; i++) {
        or_die(comment_like(&d, c.id, fan, true, &likes));
        assert_int_equal(likes, 1);
    }
    or_die(comment_find(&d, c.id, &(struct comment_view){fan, false}, &c));
    assert_true(c.liked);
    for (int i = 0; i < 2; i++) {
        or_die(comment_like(&d, c.id, fan, false, &likes));
        assert_int_equal(likes, 0);
    }
    assert_int_equal(comment_like(&d, c.id, user, true, &likes).code, ST_PRECONDITION);
}

static void test_labels_come_later(void **state)
{
    int64_t user = new_user("later", USER_AUTHOR);
    struct post post = new_post(user, "later", "a", true);
    struct comment c = new_comment(post.id, user, 0, "judge me"), edited = new_comment(post.id, user, 0, "before");
    struct comment_labels labels = {0.2, 0.9, 1, 2};
    struct comment_text *texts, *again;
    size_t n, m, mine = 0;
    struct pg d = db();

    (void)state;
    or_die(comment_claim(&d, 64, 60, &texts, &n));
    or_die(comment_claim(&d, 64, 60, &again, &m));
    assert_int_equal(m, 0); /* nobody else gets them meanwhile */
    or_die(comment_edit(&d, edited.id, user, 1000, "after", NULL, COMMENT_VISIBLE, NULL, &edited));
    for (size_t i = 0; i < n; i++)
        if (texts[i].id == c.id || texts[i].id == edited.id) {
            mine++;
            or_die(comment_label(&d, &texts[i], &labels, true));
        }
    assert_int_equal(mine, 2);
    or_die(comment_find(&d, c.id, &(struct comment_view){0, true}, &c));
    assert_int_equal(c.state, COMMENT_HELD);
    assert_string_equal(c.held_by, "model");
    assert_float_equal(c.sentiment, 0.2, 1e-6);
    or_die(comment_find(&d, edited.id, &(struct comment_view){0, true}, &edited));
    assert_true(edited.troll < 0); /* that was said of another text */
    assert_int_equal(edited.state, COMMENT_VISIBLE);
    assert_int_equal(comment_count(post.id), 1);
    or_die(comment_claim(&d, 64, 60, &again, &m));
    assert_int_equal(m, 1);
    assert_int_equal(again[0].id, edited.id);
}

static int start(void **state)
{
    (void)state;
    arena_init(&arena, (size_t)64 << 20);
    pg_testing_start(&server);
    pool = pg_testing_pool(&server, NULL, 8);
    struct pg d = db();
    or_die(pg_migrate(&d, blog_migrations, blog_n_migrations));
    return 0;
}

static int stop(void **state)
{
    (void)state;
    pg_close(pool);
    pg_testing_stop(&server);
    arena_fini(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_unique_whatever_their_case),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_one_admin_is_left),
        cmocka_unit_test(test_somebody_who_goes_takes_his_texts_along),
        cmocka_unit_test(test_drafts_are_their_authors),
        cmocka_unit_test(test_slugs_are_unique),
        cmocka_unit_test(test_two_editors_do_not_undo_each_other),
        cmocka_unit_test(test_chinese_is_found),
        cmocka_unit_test(test_pages_go_on_where_they_ended),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_a_held_comment_is_seen_by_its_author),
        cmocka_unit_test(test_edit_and_delete),
        cmocka_unit_test(test_likes_count_once),
        cmocka_unit_test(test_labels_come_later),
    };

    return pg_testing_installed() ? cmocka_run_group_tests(tests, start, stop) : 0;
}
