/* tls.h - credentials from PEM files, checked before gRPC sees them: it reports a bad one only in its log, and to the
 * peers as a closed socket. */
#ifndef RPC_TLS_H
#define RPC_TLS_H

#include "base/status.h"

#include <grpc/grpc_security.h>

/* Without cert and key (NULL or ""): plaintext. With ca: peers must show a certificate that it signed. ST_INVALID
 * or what opening the file says; the message names the option and the file. */
struct status tls_server(grpc_server_credentials **out, const char *cert, const char *key, const char *ca);

/* Without ca: plaintext. With cert and key: shown to the server. */
struct status tls_client(grpc_channel_credentials **out, const char *cert, const char *key, const char *ca);

#endif
