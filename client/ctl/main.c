/* bloginferctl - the operator's command line. */
#include "ctl.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ctl_command *const commands[] = {&ctl_train,   &ctl_watch,  &ctl_runs,   &ctl_models, &ctl_classify,
                                                     &ctl_explain, &ctl_detect, &ctl_status, &ctl_health, NULL};

#define AT(member) offsetof(struct ctl_settings, member)
static const struct config_option common[] = {
    {"aggregator", CONFIG_STR, AT(address[CTL_AGGREGATOR]), "127.0.0.1:50051", "HOST:PORT of the aggregator"},
    {"inference", CONFIG_STR, AT(address[CTL_INFERENCE]), "127.0.0.1:50052", "HOST:PORT of the inference service"},
    {"detector", CONFIG_STR, AT(address[CTL_DETECTOR]), "127.0.0.1:50053", "HOST:PORT of the detector"},
    {"trainer", CONFIG_STR, AT(trainer), "http://127.0.0.1:8000", "URL or HOST:PORT of the trainer"},
    {"tls-ca", CONFIG_STR, AT(tls_ca), "", "PEM file of the authority of the servers' certificates: TLS on"},
    {"tls-cert", CONFIG_STR, AT(tls_cert), "", "PEM file of the own certificate, for mTLS"},
    {"tls-key", CONFIG_STR, AT(tls_key), "", "PEM file of its key"},
    {"timeout-seconds", CONFIG_INT, AT(timeout_s), "10", "of one call", 1, 3600},
    {"json", CONFIG_BOOL, AT(json), "false", "JSON in place of tables"},
};

#define MAX_PARTS   2
#define ARENA_LIMIT ((size_t)256 << 20)

static bool is_value_option(const struct config_option *options, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(options[i].name, word))
            return options[i].kind != CONFIG_BOOL;
    return false;
}

/* Whether "--word" takes the next argument as its value, for any command. */
static bool takes_value(const char *word)
{
    if (is_value_option(common, COUNT_OF(common), word))
        return true;
    for (const struct ctl_command *const *c = commands; *c; c++)
        if (is_value_option((*c)->options, (*c)->n_options, word))
            return true;
    return false;
}

/* The first word that is neither an option nor an option's value; NULL: none. */
static const char *command_word(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0)
            return argv[i];
        if (!argv[i][2])
            return i + 1 < argc ? argv[i + 1] : NULL;
        if (!strchr(argv[i], '=') && takes_value(argv[i] + 2))
            i++;
    }
    return NULL;
}

static const struct ctl_command *find_command(const char *word)
{
    for (const struct ctl_command *const *c = commands; *c; c++)
        if (!strcmp((*c)->name, word))
            return *c;
    return NULL;
}

/* The list of commands, for the general --help. */
static const char *general_help(struct buf *b)
{
    buf_puts(b,
             "Trains models, manages their versions and asks the services.\n\nCommands (COMMAND --help tells more):");
    for (const struct ctl_command *const *c = commands; *c; c++) {
        char call[80];

        snprintf(call, sizeof call, "%s %s", (*c)->name, (*c)->words);
        buf_printf(b, "\n  %-42s %s", call, (*c)->summary);
    }
    buf_puts(b, "\n\nExit codes: 0 done, 1 failed, 2 wrong usage.");
    return b->data;
}

static int no_command(int argc, char **argv, const char *word)
{
    struct buf help = BUF_INIT(64 << 10);
    struct ctl_settings settings = {0};
    const struct config_program program = {"bloginferctl", general_help(&help), "COMMAND [ARG...]"};
    const struct config_part part = {common, COUNT_OF(common), &settings};
    struct status st = config_load(&program, &part, 1, &argc, argv);

    config_free(&part, 1);
    buf_fini(&help);
    if (word)
        st = status_errorf(ST_INVALID, "\"%s\": no such command (bloginferctl --help lists them)", word);
    else if (!st.code)
        st = status_errorf(ST_INVALID, "a command is missing (bloginferctl --help lists them)");
    return ctl_fail(st);
}

static int run(const struct ctl_command *command, struct ctl *ctl, int argc, char **argv)
{
    int n_words = argc - 2;

    if (n_words < command->min_words || n_words > command->max_words)
        return ctl_fail(
            status_errorf(ST_INVALID, "usage: bloginferctl %s %s (--help tells more)", command->name, command->words));
    rpc_init();
    arena_init(&ctl->arena, ARENA_LIMIT);
    int code = command->run(ctl, n_words, argv + 2);
    for (size_t i = 0; i < CTL_N_SERVICES; i++)
        rpc_client_free(ctl->clients[i]);
    arena_fini(&ctl->arena);
    rpc_fini();
    if (fflush(stdout) || ferror(stdout)) {
        perror("standard output");
        return CTL_FAILED;
    }
    return code;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {0};
    char words[128], help[2048];
    const char *word = command_word(argc, argv);
    const struct ctl_command *command = word ? find_command(word) : NULL;

    setlocale(LC_CTYPE, "C.UTF-8"); /* for the widths of characters; the terminal speaks UTF-8 */
    setlocale(LC_TIME, "C.UTF-8");
    if (!command)
        return no_command(argc, argv, word);
    snprintf(words, sizeof words, "%s%s%s", command->name, *command->words ? " " : "", command->words);
    snprintf(help, sizeof help, "%s%s%s", command->summary, *command->details ? "\n" : "", command->details);
    const struct config_program program = {"bloginferctl", help, words};
    const struct config_part parts[MAX_PARTS] = {{command->options, command->n_options, command->settings},
                                                 {common, COUNT_OF(common), &ctl.settings}};
    struct status st = config_load(&program, parts, MAX_PARTS, &argc, argv);
    int code = st.code ? ctl_fail(st) : run(command, &ctl, argc, argv);
    config_free(parts, MAX_PARTS);
    return code;
}
