/* pbjson.h - messages of protos/ as JSON and back, by their descriptors, so that a field added to a proto is in every
 * REST answer and every --json at once.
 *
 * Keys are the field names of the proto. Numbers are numbers (64-bit ones too), an enum is its value's name in lower
 * case without the enum's prefix (RUN_STATE_TRAINING: "training"), a float is the shortest text that gives the same
 * float again, and every field stands in the JSON, also one that has its default; only submessages that are not set,
 * the unset side of a oneof and `bytes` fields are left out. A number that JSON cannot hold (NaN) is null.
 * Thread-safe. */
#ifndef PBJSON_PBJSON_H
#define PBJSON_PBJSON_H

#include "base/base.h"

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

/* The message as a new object: the caller's, to json_decref(). Text that is not UTF-8 becomes "". */
json_t *pbjson_encode(const ProtobufCMessage *message);

/* Sets the fields that the object names; the others stay as they are. Strings come from the arena.
 * message: initialised, with scalar fields (no repeated ones, oneofs, submessages, bytes).
 * ST_INVALID names the field: not in the message, of another type, or a number outside the field's type.
 * ST_EXHAUSTED: the arena is full. */
struct status pbjson_decode(ProtobufCMessage *message, const json_t *object, struct arena *arena);

#endif
