/* reflection.c - tells clients such as grpcurl what this server speaks, from the build's descriptor set. The two
 * versions are the same on the wire, so one handler serves both and v1alpha borrows the messages of v1. A file goes
 * with all its imports; what is not found is an answer, not the end of the stream. */
#include "rpc/reflection.h"

#include "rpc/server.h"

#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest request;
typedef Grpc__Reflection__V1__ServerReflectionResponse response;
typedef Grpc__Reflection__V1__FileDescriptorResponse files_response;
typedef Grpc__Reflection__V1__ExtensionNumberResponse extensions_response;
typedef Grpc__Reflection__V1__ListServiceResponse services_response;
typedef Grpc__Reflection__V1__ServiceResponse service_response;
typedef Grpc__Reflection__V1__ErrorResponse error_response;

/* Everything an answer points to. Sized once for the server: no file or service is added later. */
struct answer {
    response rep;
    files_response files;
    extensions_response extensions;
    services_response services;
    error_response error;
    ProtobufCBinaryData *file;     /* n_files */
    size_t *index;                 /* n_files */
    service_response *service;     /* n_services */
    service_response **service_at; /* n_services */
};

static void refuse(struct answer *a, enum code code, const char *message)
{
    grpc__reflection__v1__error_response__init(&a->error);
    a->error.error_code = (int32_t)code;
    a->error.error_message = (char *)message;
    a->rep.error_response = &a->error;
    a->rep.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
}

static void answer_file(struct answer *a, const struct descriptors *d, size_t index)
{
    size_t n = descriptors_closure(d, index, a->index);

    for (size_t i = 0; i < n; i++) {
        const struct descriptor_file *file = descriptors_file(d, a->index[i]);

        a->file[i] = (ProtobufCBinaryData){file->size, (uint8_t *)file->data};
    }
    grpc__reflection__v1__file_descriptor_response__init(&a->files);
    a->files.n_file_descriptor_proto = n;
    a->files.file_descriptor_proto = a->file;
    a->rep.file_descriptor_response = &a->files;
    a->rep.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
}

static void answer_symbol(struct answer *a, const struct descriptors *d, const char *name)
{
    const struct symbol *symbol = descriptors_symbol(d, *name == '.' ? name + 1 : name);

    if (symbol)
        answer_file(a, d, symbol->file);
    else
        refuse(a, ST_NOT_FOUND, "symbol not found");
}

static void answer_file_name(struct answer *a, const struct descriptors *d, const char *name)
{
    size_t index;

    if (descriptors_find_file(d, name, &index))
        answer_file(a, d, index);
    else
        refuse(a, ST_NOT_FOUND, "file not found");
}

/* proto3 types have no extensions: an empty list, for those that exist. */
static void answer_extensions(struct answer *a, const struct descriptors *d, const char *type)
{
    const struct symbol *symbol = descriptors_symbol(d, *type == '.' ? type + 1 : type);

    if (!symbol || symbol->kind != SYMBOL_MESSAGE) {
        refuse(a, ST_NOT_FOUND, "type not found");
        return;
    }
    grpc__reflection__v1__extension_number_response__init(&a->extensions);
    a->extensions.base_type_name = symbol->name;
    a->rep.all_extension_numbers_response = &a->extensions;
    a->rep.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
}

static void answer_services(struct answer *a, const struct rpc_server *s)
{
    for (size_t i = 0; i < s->services.n; i++) {
        grpc__reflection__v1__service_response__init(&a->service[i]);
        a->service[i].name = (char *)(*VEC_AT(&s->services, const ProtobufCServiceDescriptor *, i))->name;
        a->service_at[i] = &a->service[i];
    }
    grpc__reflection__v1__list_service_response__init(&a->services);
    a->services.n_service = s->services.n;
    a->services.service = a->service_at;
    a->rep.list_services_response = &a->services;
    a->rep.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
}

static void answer(struct answer *a, const struct rpc_server *s, const request *req)
{
    grpc__reflection__v1__server_reflection_response__init(&a->rep);
    a->rep.valid_host = req->host;
    a->rep.original_request = (request *)req;
    switch (req->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        answer_file_name(a, s->descriptors, req->file_by_filename);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        answer_symbol(a, s->descriptors, req->file_containing_symbol);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        refuse(a, ST_NOT_FOUND, "extension not found");
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        answer_extensions(a, s->descriptors, req->all_extension_numbers_of_type);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        answer_services(a, s);
        break;
    default:
        refuse(a, ST_INVALID, "unknown kind of request");
    }
}

static struct answer *answer_new(struct arena *arena, const struct rpc_server *s)
{
    struct answer *a = arena_zalloc(arena, 1, sizeof *a);

    if (!a)
        return NULL;
    a->file = arena_zalloc(arena, descriptors_n_files(s->descriptors), sizeof *a->file);
    a->index = arena_zalloc(arena, descriptors_n_files(s->descriptors), sizeof *a->index);
    a->service = arena_zalloc(arena, s->services.n, sizeof *a->service);
    a->service_at = arena_zalloc(arena, s->services.n, sizeof *a->service_at);
    return a->file && a->index && a->service && a->service_at ? a : NULL;
}

static struct status info(struct rpc_call *call, const void *in)
{
    struct rpc_server *s = rpc_service(call);
    struct answer *a = answer_new(rpc_arena(call), s);
    struct status st;

    (void)in; /* the client streams */
    if (!a)
        return status_errorf(ST_EXHAUSTED, "no memory for the call");
    for (const void *req; !(st = rpc_recv(call, &req)).code && req;) {
        answer(a, s, req);
        st = rpc_send(call, &a->rep);
        if (st.code)
            break;
    }
    return st;
}

struct status reflection_register(struct rpc_server *s)
{
    static const struct rpc_method methods[] = {
        RPC_STREAM("ServerReflectionInfo", info, .max_request = 16 << 10, .arena_limit = 256 << 10, .max_streams = 256,
                   .endless = true),
    };
    struct status st;

    s->alpha = grpc__reflection__v1__server_reflection__descriptor;
    s->alpha.name = grpc__reflection__v1alpha__server_reflection__descriptor.name;
    st = server_add(s, &grpc__reflection__v1__server_reflection__descriptor, methods, 1, s, NULL, NULL);
    if (!st.code)
        st = server_add(s, &s->alpha, methods, 1, s, NULL, NULL);
    return st;
}
