/* pbjson.c - see pbjson.h. */
#include "pbjson/pbjson.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENUM_TEXT_MAX 64

/* The value's name without "RUN_STATE_", in lower case: the prefix is the enum's CamelCase name and one '_' more for
 * each capital letter after the first. text has ENUM_TEXT_MAX bytes. */
static const char *enum_text(char *text, const ProtobufCEnumDescriptor *e, int number)
{
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(e, number);
    size_t prefix = 0, n = 0;

    if (!v) {
        snprintf(text, ENUM_TEXT_MAX, "%d", number);
        return text;
    }
    for (const char *c = e->short_name; *c; c++)
        prefix += c != e->short_name && isupper((unsigned char)*c) ? 2 : 1;
    prefix = strlen(v->name) > prefix + 1 && v->name[prefix] == '_' ? prefix + 1 : 0;
    for (const char *c = v->name + prefix; *c && n < ENUM_TEXT_MAX - 1; c++)
        text[n++] = (char)tolower((unsigned char)*c);
    text[n] = '\0';
    return text;
}

/* json_real() refuses NaN and infinities. */
static json_t *real_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *float_value(float value)
{
    char text[32];

    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return real_or_null(isfinite(value) ? strtod(text, NULL) : (double)value);
}

/* jansson's integers are signed. */
static json_t *uint64_value(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

static json_t *string_value(const char *text)
{
    json_t *value = json_string(text ? text : "");

    return value ? value : json_string("");
}

/* One value of the field's type; NULL when it is to be left out. */
static json_t *encode_value(const ProtobufCFieldDescriptor *f, const void *p)
{
    char text[ENUM_TEXT_MAX];

    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_integer(*(const int32_t *)p);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return json_integer(*(const int64_t *)p);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)p);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return uint64_value(*(const uint64_t *)p);
    case PROTOBUF_C_TYPE_FLOAT:
        return float_value(*(const float *)p);
    case PROTOBUF_C_TYPE_DOUBLE:
        return real_or_null(*(const double *)p);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)p);
    case PROTOBUF_C_TYPE_ENUM:
        return json_string(enum_text(text, f->descriptor, *(const int *)p));
    case PROTOBUF_C_TYPE_STRING:
        return string_value(*(char *const *)p);
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(ProtobufCMessage *const *)p ? pbjson_encode(*(ProtobufCMessage *const *)p) : NULL;
    default:
        return NULL;
    }
}

static size_t element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4; /* the 32-bit numbers, float, enum and protobuf_c_boolean */
    }
}

static json_t *encode_repeated(const ProtobufCFieldDescriptor *f, const char *message)
{
    size_t n = *(const size_t *)(message + f->quantifier_offset);
    const char *elements = *(char *const *)(message + f->offset);
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(array, encode_value(f, elements + i * element_size(f->type)));
    return array;
}

json_t *pbjson_encode(const ProtobufCMessage *message)
{
    const char *base = (const char *)message;
    json_t *object = json_object();

    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &message->descriptor->fields[i];
        json_t *value;

        if (f->label == PROTOBUF_C_LABEL_REPEATED)
            value = encode_repeated(f, base);
        else if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF && *(const uint32_t *)(base + f->quantifier_offset) != f->id)
            continue;
        else
            value = encode_value(f, base + f->offset);
        if (value)
            json_object_set_new(object, f->name, value);
    }
    return object;
}

static struct status decode_integer(const ProtobufCFieldDescriptor *f, void *p, const json_t *value)
{
    json_int_t i = json_integer_value(value), max = f->type == PROTOBUF_C_TYPE_UINT32 ? UINT32_MAX : INT64_MAX;

    if (!json_is_integer(value) || i < 0 || i > max)
        return status_errorf(ST_INVALID, "\"%s\": must be a whole number from 0 to %" PRId64, f->name, (int64_t)max);
    if (f->type == PROTOBUF_C_TYPE_UINT32)
        *(uint32_t *)p = (uint32_t)i;
    else
        *(uint64_t *)p = (uint64_t)i;
    return status_ok();
}

static struct status decode_string(const ProtobufCFieldDescriptor *f, void *p, const json_t *value, struct arena *arena)
{
    if (!json_is_string(value))
        return status_errorf(ST_INVALID, "\"%s\": must be a string", f->name);
    char *text = arena_strdup(arena, json_string_value(value));
    if (!text)
        return status_errorf(ST_EXHAUSTED, "\"%s\": too long", f->name);
    *(char **)p = text;
    return status_ok();
}

static struct status decode_value(const ProtobufCFieldDescriptor *f, void *p, const json_t *value, struct arena *arena)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
        return decode_integer(f, p, value);
    case PROTOBUF_C_TYPE_DOUBLE:
        if (!json_is_number(value))
            return status_errorf(ST_INVALID, "\"%s\": must be a number", f->name);
        *(double *)p = json_number_value(value);
        return status_ok();
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(value))
            return status_errorf(ST_INVALID, "\"%s\": must be true or false", f->name);
        *(protobuf_c_boolean *)p = json_is_true(value);
        return status_ok();
    case PROTOBUF_C_TYPE_STRING:
        return decode_string(f, p, value, arena);
    default:
        return status_errorf(ST_INVALID, "\"%s\": cannot be set", f->name);
    }
}

struct status pbjson_decode(ProtobufCMessage *message, const json_t *object, struct arena *arena)
{
    const char *key;
    json_t *value;

    if (!json_is_object(object))
        return status_errorf(ST_INVALID, "must be a JSON object");
    json_object_foreach((json_t *)object, key, value)
    {
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(message->descriptor, key);

        if (!f)
            return status_errorf(ST_INVALID, "\"%.64s\": no such field", key);
        if (f->label == PROTOBUF_C_LABEL_REPEATED || f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
            return status_errorf(ST_INVALID, "\"%s\": cannot be set", f->name);
        struct status st = decode_value(f, (char *)message + f->offset, value, arena);
        if (st.code)
            return st;
    }
    return status_ok();
}
