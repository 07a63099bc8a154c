/* output.c - how commands say what they have to say. */
#include "ctl.h"
#include "pbjson/pbjson.h"

#include <stdio.h>
#include <stdlib.h>

int ctl_fail(struct status st)
{
    char *msg = text_clean(st.msg);

    fflush(stdout);
    fprintf(stderr, "bloginferctl: %s\n", msg);
    free(msg);
    return st.code == ST_INVALID ? CTL_USAGE : CTL_FAILED;
}

int ctl_print_json(const ProtobufCMessage *message)
{
    json_t *object = pbjson_encode(message);

    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
    return CTL_OK;
}
