/* tls.c - see tls.h. The checks are libcrypto's. */
#include "rpc/tls.h"

#include "base/base.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PEM ((size_t)1 << 20)

struct pem_files {
    char *cert, *key, *ca; /* contents; NULL: not given */
};

static bool given(const char *path)
{
    return path && *path;
}

static void pem_fini(struct pem_files *f)
{
    free(f->cert);
    if (f->key)
        OPENSSL_cleanse(f->key, strlen(f->key));
    free(f->key);
    free(f->ca);
}

static X509 *parse_cert(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free(bio);
    ERR_clear_error();
    return cert;
}

/* A key under a passphrase is refused, not asked about on the terminal. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out, (void)size, (void)writing, (void)arg;
    return -1;
}

static EVP_PKEY *parse_key(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);

    BIO_free(bio);
    ERR_clear_error();
    return key;
}

static struct status load(char **pem, const char *option, const char *path)
{
    size_t size;
    struct status st = fs_read(path, MAX_PEM, pem, &size);

    return status_prefix(st, "%s", option);
}

static struct status load_cert(char **pem, const char *option, const char *path)
{
    struct status st = load(pem, option, path);
    X509 *cert = st.code ? NULL : parse_cert(*pem);

    if (!st.code && !cert)
        st = status_errorf(ST_INVALID, "%s: %s is not a certificate in PEM form", option, path);
    if (cert && X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        log_warn("certificate_expired", log_s("option", option), log_s("file", path));
    X509_free(cert);
    return st;
}

static struct status load_key(struct pem_files *f, const char *path, const char *cert_path)
{
    struct status st = load(&f->key, "tls-key", path);
    EVP_PKEY *key = st.code ? NULL : parse_key(f->key);
    X509 *cert = parse_cert(f->cert);

    if (!st.code && !key)
        st = status_errorf(ST_INVALID, "tls-key: %s is not a private key in PEM form without passphrase", path);
    else if (!st.code && X509_check_private_key(cert, key) != 1)
        st = status_errorf(ST_INVALID, "tls-key: %s does not belong to the certificate %s", path, cert_path);
    ERR_clear_error();
    EVP_PKEY_free(key);
    X509_free(cert);
    return st;
}

static struct status load_all(struct pem_files *f, const char *cert, const char *key, const char *ca)
{
    struct status st = status_ok();

    if (given(cert) != given(key))
        return status_errorf(ST_INVALID, "tls-cert and tls-key: give both or none");
    if (given(cert))
        st = load_cert(&f->cert, "tls-cert", cert);
    if (!st.code && given(key))
        st = load_key(f, key, cert);
    if (!st.code && given(ca))
        st = load_cert(&f->ca, "tls-ca", ca);
    return st;
}

struct status tls_server(grpc_server_credentials **out, const char *cert, const char *key, const char *ca)
{
    struct pem_files f = {0};
    struct status st = load_all(&f, cert, key, ca);

    if (!st.code && f.ca && !f.cert)
        st = status_errorf(ST_INVALID, "tls-ca: needs tls-cert and tls-key, too");
    if (!st.code && !f.cert)
        *out = grpc_insecure_server_credentials_create();
    if (!st.code && f.cert)
        *out = grpc_ssl_server_credentials_create_ex(f.ca, &(grpc_ssl_pem_key_cert_pair){f.key, f.cert}, 1,
                                                     f.ca ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                          : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
                                                     NULL);
    pem_fini(&f);
    return st;
}

struct status tls_client(grpc_channel_credentials **out, const char *cert, const char *key, const char *ca)
{
    struct pem_files f = {0};
    struct status st = load_all(&f, cert, key, ca);

    if (!st.code && f.cert && !f.ca)
        st = status_errorf(ST_INVALID, "tls-cert: needs tls-ca, too");
    if (!st.code && !f.ca)
        *out = grpc_insecure_credentials_create();
    if (!st.code && f.ca)
        *out = grpc_ssl_credentials_create_ex(f.ca, f.cert ? &(grpc_ssl_pem_key_cert_pair){f.key, f.cert} : NULL, NULL,
                                              NULL);
    pem_fini(&f);
    return st;
}
