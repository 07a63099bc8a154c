/* password.c - see password.h. The rules are those of NIST SP 800-63B: length and what is known to be guessed first, not
 * kinds of characters. */
#include "password.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define OPS        crypto_pwhash_OPSLIMIT_INTERACTIVE
#define MEMORY     crypto_pwhash_MEMLIMIT_INTERACTIVE
#define BESIDE_MIN 6 /* bytes that a password must have beside the name */

_Static_assert(PASSWORD_HASH_SIZE >= crypto_pwhash_STRBYTES, "a hash fits");

struct passwords {
    char nobody[crypto_pwhash_STRBYTES]; /* of a password that nobody knows */
    int64_t at_once, waiting;
    pthread_mutex_t mu; /* guards all below */
    pthread_cond_t freed;
    int64_t n_running, n_waiting;
};

/* ---- turns ---- */

static struct status busy(void)
{
    return status_errorf(ST_EXHAUSTED, "too many are logging in at once, try again");
}

static struct status begin(struct passwords *p, int64_t deadline)
{
    struct timespec at = clock_timespec(deadline);
    struct status st = status_ok();

    pthread_mutex_lock(&p->mu);
    if (p->n_running >= p->at_once && p->n_waiting >= p->waiting)
        st = busy();
    p->n_waiting++;
    while (!st.code && p->n_running >= p->at_once) {
        if (clock_now() >= deadline)
            st = busy();
        else
            pthread_cond_timedwait(&p->freed, &p->mu, &at);
    }
    p->n_waiting--;
    p->n_running += !st.code;
    pthread_mutex_unlock(&p->mu);
    return st;
}

static void end(struct passwords *p)
{
    pthread_mutex_lock(&p->mu);
    p->n_running--;
    pthread_cond_signal(&p->freed);
    pthread_mutex_unlock(&p->mu);
}

static int64_t fitting(void)
{
    int64_t by_memory = memory_limit() / 4 / (int64_t)MEMORY;
    int64_t n = cpus_allowed() < by_memory ? cpus_allowed() : by_memory;

    return n > 0 ? n : 1;
}

static struct status no_memory(void)
{
    return status_errorf(ST_EXHAUSTED, "no memory for the hash of a password");
}

struct status passwords_new(struct passwords **out, const struct passwords_config *config)
{
    struct passwords *p = xcalloc(1, sizeof *p);
    uint8_t random[32];

    if (sodium_init() < 0)
        abort(); /* no random numbers: nothing may go on */
    randombytes_buf(random, sizeof random);
    if (crypto_pwhash_str(p->nobody, (const char *)random, sizeof random, OPS, MEMORY)) {
        free(p);
        return no_memory();
    }
    p->at_once = config->at_once ? config->at_once : fitting();
    p->waiting = config->waiting;
    pthread_mutex_init(&p->mu, NULL);
    cond_init_monotonic(&p->freed);
    *out = p;
    return status_ok();
}

void passwords_free(struct passwords *p)
{
    if (!p)
        return;
    pthread_cond_destroy(&p->freed);
    pthread_mutex_destroy(&p->mu);
    free(p);
}

/* ---- hashes ---- */

struct status password_hash(struct passwords *p, int64_t deadline, const char *password, size_t size,
                            char hash[PASSWORD_HASH_SIZE])
{
    struct status st = begin(p, deadline);

    if (st.code)
        return st;
    if (crypto_pwhash_str(hash, password, size, OPS, MEMORY))
        st = no_memory();
    end(p);
    return st;
}

static struct status compare(const char *hash, const char *password, size_t size)
{
    if (crypto_pwhash_str_needs_rehash(hash, OPS, MEMORY) < 0)
        return status_errorf(ST_INTERNAL, "what is kept as the hash of a password is none");
    errno = 0;
    if (!crypto_pwhash_str_verify(hash, password, size))
        return status_ok();
    if (errno == ENOMEM)
        return no_memory();
    return status_errorf(ST_UNAUTHENTICATED, "the name or the password is wrong");
}

struct status password_verify(struct passwords *p, int64_t deadline, const char *hash, const char *password,
                              size_t size, bool *outdated)
{
    bool known = hash && *hash && size <= PASSWORD_MAX_BYTES; /* a longer one is nobody's */
    struct status st = begin(p, deadline);

    *outdated = false;
    if (st.code)
        return st;
    st = compare(known ? hash : p->nobody, password, size < PASSWORD_MAX_BYTES ? size : PASSWORD_MAX_BYTES);
    end(p);
    if (!st.code && !known)
        return status_errorf(ST_UNAUTHENTICATED, "the name or the password is wrong");
    if (!st.code)
        *outdated = crypto_pwhash_str_needs_rehash(hash, OPS, MEMORY) != 0;
    return st;
}

/* ---- which may be chosen ---- */

extern const char common_passwords[], common_passwords_end[];

static struct status refused(const char *why)
{
    return status_errorf(ST_INVALID, "choose another password: %s", why);
}

static struct status check_characters(const char *password, size_t size)
{
    size_t n = 0;

    if (size > PASSWORD_MAX_BYTES)
        return status_errorf(ST_INVALID, "choose another password: this one is over %d bytes", PASSWORD_MAX_BYTES);
    for (size_t at = 0; at < size; n++) {
        utf8proc_int32_t point;
        utf8proc_ssize_t bytes =
            utf8proc_iterate((const utf8proc_uint8_t *)password + at, (utf8proc_ssize_t)(size - at), &point);

        if (bytes <= 0)
            return refused("this one is not UTF-8");
        if (utf8proc_category(point) == UTF8PROC_CATEGORY_CC)
            return refused("this one has control characters");
        at += (size_t)bytes;
    }
    if (n < PASSWORD_MIN_CHARACTERS)
        return status_errorf(ST_INVALID, "choose another password: at least %d characters", PASSWORD_MIN_CHARACTERS);
    return status_ok();
}

static void lower(char *out, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
    out[size] = '\0';
}

static bool is_common(const char *password, size_t size)
{
    const char *line = common_passwords, *end_of_line;

    for (; line < common_passwords_end; line = end_of_line + 1) {
        end_of_line = memchr(line, '\n', (size_t)(common_passwords_end - line));
        if (!end_of_line)
            break;
        if ((size_t)(end_of_line - line) == size && !memcmp(line, password, size))
            return true;
    }
    return false;
}

/* 121212121212, abcdeabcdeab: a part of at most half its length, again and again. */
static bool repeats(const char *password, size_t size)
{
    for (size_t period = 1; period <= size / 2; period++)
        if (!memcmp(password, password + period, size - period))
            return true;
    return false;
}

/* 1234567890, zyxwvutsrq: along the alphabet or the keyboard, or back. */
static bool is_run(const char *password, size_t size)
{
    static const char *const rows[] = {"01234567890123456789", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
                                       "`1234567890-=qwertyuiop[]asdfghjkl;'zxcvbnm,./",
                                       "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/"};
    char back[PASSWORD_MAX_BYTES + 1];

    for (size_t i = 0; i < size; i++)
        back[i] = password[size - 1 - i];
    back[size] = '\0';
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (strstr(rows[i], password) || strstr(rows[i], back))
            return true;
    return false;
}

static bool is_mostly(const char *password, size_t size, const char *name)
{
    char small[PASSWORD_MAX_BYTES + 1];
    size_t n = strlen(name), beside = size;

    if (!n || n > PASSWORD_MAX_BYTES)
        return false;
    lower(small, name, n);
    for (const char *at = password; (at = strstr(at, small)); at += n)
        beside -= n;
    return beside < BESIDE_MIN && beside < size;
}

struct status password_check(const char *name, const char *password, size_t size)
{
    struct status st = check_characters(password, size);
    char small[PASSWORD_MAX_BYTES + 1];

    if (st.code)
        return st;
    lower(small, password, size);
    if (is_common(small, size))
        st = refused("this is one of the most common");
    else if (repeats(small, size))
        st = refused("this one repeats itself");
    else if (is_run(small, size))
        st = refused("this one runs along the alphabet or the keyboard");
    else if (is_mostly(small, size, name))
        st = refused("this one is little more than the name");
    sodium_memzero(small, sizeof small);
    return st;
}
