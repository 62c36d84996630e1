/* Columns of values under keys, a column in one call: what vault/columns_plain.py does, byte for byte.
 *
 * The ciphers and hashes are OpenSSL's, found in libcrypto at run time: neither its headers nor the library
 * are needed to build. A column is a list or tuple of bytes, or bytes that every row has. No Python code runs
 * and the GIL is not given up between the first look at an argument and the last, so rows cannot change under
 * our hands and one context for each use is enough. When a call is done a context is keyed with zeros: it keeps
 * no key. Errors: TypeError, ValueError for lengths, MemoryError, RuntimeError where OpenSSL refuses; then
 * nothing at all is returned.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <limits.h>
#include <string.h>

enum { KEY = 32, WRAPPED = 40, HASH = 32, HASH_BLOCK = 64, COMMIT = 16, NONCE = 12, TAG = 16 };
enum { OVERHEAD = COMMIT + NONCE + TAG };

typedef unsigned char byte;

/* ---- OpenSSL 3 or later, by the prototypes of its manual pages ----------------------------------------- */
typedef struct evp_cipher EVP_CIPHER;
typedef struct evp_cipher_ctx EVP_CIPHER_CTX;
typedef struct evp_md EVP_MD;
typedef struct evp_md_ctx EVP_MD_CTX;

#define FUNCTIONS(F)                                                                                        \
    F(const char *, OpenSSL_version, (int))                                                                 \
    F(EVP_MD *, EVP_MD_fetch, (void *, const char *, const char *))                                         \
    F(EVP_MD_CTX *, EVP_MD_CTX_new, (void))                                                                 \
    F(int, EVP_DigestInit_ex2, (EVP_MD_CTX *, const EVP_MD *, const void *))                                \
    F(int, EVP_DigestUpdate, (EVP_MD_CTX *, const void *, size_t))                                          \
    F(int, EVP_DigestFinal_ex, (EVP_MD_CTX *, byte *, unsigned int *))                                      \
    F(EVP_CIPHER *, EVP_CIPHER_fetch, (void *, const char *, const char *))                                 \
    F(EVP_CIPHER_CTX *, EVP_CIPHER_CTX_new, (void))                                                         \
    F(int, EVP_CIPHER_CTX_set_padding, (EVP_CIPHER_CTX *, int))                                             \
    F(int, EVP_CIPHER_CTX_ctrl, (EVP_CIPHER_CTX *, int, int, void *))                                       \
    F(int, EVP_CipherInit_ex,                                                                               \
      (EVP_CIPHER_CTX *, const EVP_CIPHER *, void *, const byte *, const byte *, int))                      \
    F(int, EVP_CipherUpdate, (EVP_CIPHER_CTX *, byte *, int *, const byte *, int))                          \
    F(int, EVP_CipherFinal_ex, (EVP_CIPHER_CTX *, byte *, int *))                                           \
    F(int, CRYPTO_memcmp, (const void *, const void *, size_t))                                             \
    F(void, OPENSSL_cleanse, (void *, size_t))                                                              \
    F(void, ERR_clear_error, (void))

#define MEMBER(type, name, arguments) type(*name) arguments;
static struct {
    FUNCTIONS(MEMBER)
} ssl;

enum { GET_TAG = 0x10, SET_TAG = 0x11, DECRYPT = 0, ENCRYPT = 1, SAME = -1 };

static EVP_MD_CTX *hash;
static EVP_CIPHER_CTX *sealing, *opening, *wrapping, *unwrapping;
static const byte ZEROS[KEY];

static PyObject *refused(void)
{
    ssl.ERR_clear_error(); /* the queue is the thread's: Python's ssl module reads it, too */
    PyErr_SetString(PyExc_RuntimeError, "OpenSSL refused");
    return NULL;
}

#define BYTES(object) ((byte *)PyBytes_AS_STRING(object))
#define SIZE(object) ((size_t)PyBytes_GET_SIZE(object))

/* ---- HMAC, commitment, key wrap ------------------------------------------------------------------------ */
static int hash_new(void) { return ssl.EVP_DigestInit_ex2(hash, NULL, NULL) == 1; }

static int hash_more(const byte *text, size_t size) { return ssl.EVP_DigestUpdate(hash, text, size) == 1; }

static int hash_begin(const byte *block)
{
    return hash_new() && hash_more(block, HASH_BLOCK);
}

static int hash_end(byte *out) { return ssl.EVP_DigestFinal_ex(hash, out, NULL) == 1; }

/* HMAC-SHA256 (RFC 2104): one hash within another. OpenSSL's own takes twice as long, setting up for a key. */
typedef struct {
    byte inner[HASH_BLOCK], outer[HASH_BLOCK], digest[HASH];
} Mac;

static int mac_begin(Mac *mac, PyObject *key)
{
    byte padded[HASH_BLOCK] = {0};
    if (SIZE(key) <= HASH_BLOCK)
        memcpy(padded, BYTES(key), SIZE(key));
    else if (!hash_new() || !hash_more(BYTES(key), SIZE(key)) || !hash_end(padded))
        return 0;
    for (int i = 0; i < HASH_BLOCK; i++) {
        mac->inner[i] = padded[i] ^ 0x36;
        mac->outer[i] = padded[i] ^ 0x5c;
    }
    ssl.OPENSSL_cleanse(padded, sizeof padded);
    return hash_begin(mac->inner);
}

static int mac_end(Mac *mac, byte *out)
{
    return hash_end(mac->digest) && hash_begin(mac->outer) && hash_more(mac->digest, HASH) && hash_end(out);
}

static int cipher_key(EVP_CIPHER_CTX *context, const byte *key, const byte *nonce)
{
    return ssl.EVP_CipherInit_ex(context, NULL, NULL, key, nonce, SAME) == 1;
}

/* AES key wrap (RFC 3394, 2.2) over OpenSSL's AES: its own mode of that name does not use the processor's. */
static int block_through(EVP_CIPHER_CTX *context, byte *block)
{
    int taken = 0;
    return ssl.EVP_CipherUpdate(context, block, &taken, block, 16) == 1 && taken == 16;
}

static int wrap_into(byte *out, PyObject *over, PyObject *key)
{
    byte block[16];
    int right = cipher_key(wrapping, BYTES(over), NULL);
    memset(block, 0xa6, 8);
    memcpy(out + 8, BYTES(key), KEY);
    for (int t = 1; right && t <= 6 * KEY / 8; t++) {
        byte *part = out + 8 + (t - 1) % (KEY / 8) * 8;
        memcpy(block + 8, part, 8);
        right = block_through(wrapping, block);
        block[7] ^= (byte)t;
        memcpy(part, block + 8, 8);
    }
    memcpy(out, block, 8);
    ssl.OPENSSL_cleanse(block, sizeof block);
    return right;
}

/* `fits`: whether it was made under this key. */
static int unwrap_into(byte *out, PyObject *over, PyObject *given, int *fits)
{
    byte block[16], begin[8];
    int right = cipher_key(unwrapping, BYTES(over), NULL);
    memset(begin, 0xa6, 8);
    memcpy(block, BYTES(given), 8);
    memcpy(out, BYTES(given) + 8, KEY);
    for (int t = 6 * KEY / 8; right && t; t--) {
        byte *part = out + (t - 1) % (KEY / 8) * 8;
        memcpy(block + 8, part, 8);
        block[7] ^= (byte)t;
        right = block_through(unwrapping, block);
        memcpy(part, block + 8, 8);
    }
    *fits = ssl.CRYPTO_memcmp(block, begin, 8) == 0;
    ssl.OPENSSL_cleanse(block, sizeof block);
    return right;
}

static int commitment(Mac *mac, PyObject *label, PyObject *key, const byte *nonce, byte *digest)
{
    return mac_begin(mac, key) && hash_more(BYTES(label), SIZE(label)) && hash_more(nonce, NONCE) &&
           mac_end(mac, digest);
}

/* ---- columns ------------------------------------------------------------------------------------------- */
typedef struct {
    PyObject **rows; /* NULL where every row is `all` */
    PyObject *all;
} Column;

static inline PyObject *cell(const Column *column, Py_ssize_t i)
{
    return column->rows ? column->rows[i] : column->all;
}

/* What one call is given: columns, a text in pieces (columns one behind the other), n rows (-1: not known). */
typedef struct {
    Column column[4];
    Column *pieces;
    Py_ssize_t count, n;
    Mac mac;
} Call;

/* Looks at an argument whole. `size`: what every row must be long, 0 for any length. `none`: it is a list, and
 * rows may be None. */
static int column_of(Call *call, PyObject *given, Column *column, size_t size, int none)
{
    Py_ssize_t count = 1;
    *column = (Column){NULL, given};
    if (none || !PyBytes_Check(given)) {
        if (!PyList_Check(given) && !PyTuple_Check(given)) {
            PyErr_SetString(PyExc_TypeError, "a column is bytes, a list or a tuple");
            return 0;
        }
        column->rows = PySequence_Fast_ITEMS(given);
        count = PySequence_Fast_GET_SIZE(given);
        if (call->n >= 0 && call->n != count) {
            PyErr_SetString(PyExc_ValueError, "columns of different lengths");
            return 0;
        }
        call->n = count;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *row = cell(column, i);
        if (none && row == Py_None)
            continue;
        if (!PyBytes_Check(row)) {
            PyErr_SetString(PyExc_TypeError, "a column holds bytes");
            return 0;
        }
        if ((size && SIZE(row) != size) || SIZE(row) > INT_MAX - OVERHEAD) {
            PyErr_SetString(PyExc_ValueError, "bytes of a wrong length");
            return 0;
        }
    }
    return 1;
}

static int pieces_of(Call *call, PyObject *given)
{
    if (!PyList_Check(given) && !PyTuple_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "pieces are a list or a tuple");
        return 0;
    }
    call->count = PySequence_Fast_GET_SIZE(given);
    call->pieces = PyMem_New(Column, call->count + 1);
    if (!call->pieces) {
        PyErr_NoMemory();
        return 0;
    }
    for (Py_ssize_t p = 0; p < call->count; p++)
        if (!column_of(call, PySequence_Fast_GET_ITEM(given, p), &call->pieces[p], 0, 0))
            return 0;
    return 1;
}

static int ready(Py_ssize_t given, Py_ssize_t wanted)
{
    if (given != wanted)
        PyErr_Format(PyExc_TypeError, "%zd arguments are needed", wanted);
    else if (!hash)
        PyErr_SetString(PyExc_RuntimeError, "load() comes first");
    return given == wanted && hash;
}

/* ---- a row of each call: what it becomes, NULL where something went wrong ------------------------------ */
static PyObject *joined(Call *call, Py_ssize_t i)
{
    size_t size = 0;
    for (Py_ssize_t p = 0; p < call->count; p++)
        size += SIZE(cell(&call->pieces[p], i));
    PyObject *out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    byte *at = out ? BYTES(out) : NULL;
    for (Py_ssize_t p = 0; out && p < call->count; p++) {
        PyObject *piece = cell(&call->pieces[p], i);
        memcpy(at, BYTES(piece), SIZE(piece));
        at += SIZE(piece);
    }
    return out;
}

static PyObject *right_or_null(PyObject *out, int right)
{
    if (!right)
        Py_CLEAR(out);
    return out;
}

static PyObject *authenticated(Call *call, Py_ssize_t i)
{
    PyObject *out = PyBytes_FromStringAndSize(NULL, HASH);
    int right = out && mac_begin(&call->mac, cell(&call->column[0], i));
    for (Py_ssize_t p = 0; right && p < call->count; p++) {
        PyObject *piece = cell(&call->pieces[p], i);
        right = hash_more(BYTES(piece), SIZE(piece));
    }
    return right_or_null(out, right && mac_end(&call->mac, BYTES(out)));
}

static PyObject *wrapped(Call *call, Py_ssize_t i)
{
    PyObject *out = PyBytes_FromStringAndSize(NULL, WRAPPED);
    int right = out && wrap_into(BYTES(out), cell(&call->column[0], i), cell(&call->column[1], i));
    return right_or_null(out, right);
}

static PyObject *unwrapped(Call *call, Py_ssize_t i)
{
    PyObject *given = cell(&call->column[1], i), *out;
    int fits = 0;
    if (SIZE(given) != WRAPPED)
        return Py_NewRef(Py_None);
    if (!(out = PyBytes_FromStringAndSize(NULL, KEY)) ||
        !unwrap_into(BYTES(out), cell(&call->column[0], i), given, &fits))
        return right_or_null(out, 0);
    if (fits)
        return out;
    ssl.OPENSSL_cleanse(BYTES(out), KEY); /* what a wrong key makes of it: nobody sees it */
    Py_DECREF(out);
    return Py_NewRef(Py_None);
}

/* Begins GCM under a key and nonce, and reads the AAD. */
static int gcm_begin(EVP_CIPHER_CTX *context, Call *call, Py_ssize_t i, PyObject *key, const byte *nonce)
{
    int taken;
    if (!cipher_key(context, BYTES(key), nonce))
        return 0;
    for (Py_ssize_t p = 0; p < call->count; p++) {
        PyObject *piece = cell(&call->pieces[p], i);
        if (SIZE(piece) && ssl.EVP_CipherUpdate(context, NULL, &taken, BYTES(piece), (int)SIZE(piece)) != 1)
            return 0;
    }
    return 1;
}

static int gcm_text(EVP_CIPHER_CTX *context, byte *out, const byte *text, size_t size)
{
    int taken = 0;
    int right = !size || ssl.EVP_CipherUpdate(context, out, &taken, text, (int)size) == 1;
    return right && (size_t)taken == size;
}

static PyObject *sealed(Call *call, Py_ssize_t i)
{
    PyObject *label = cell(&call->column[0], i), *key = cell(&call->column[1], i);
    PyObject *nonce = cell(&call->column[2], i), *clear = cell(&call->column[3], i);
    PyObject *out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)SIZE(clear) + OVERHEAD);
    byte digest[HASH], *body, *tag;
    int rest = 0;
    if (!out || !commitment(&call->mac, label, key, BYTES(nonce), digest))
        return right_or_null(out, 0);
    memcpy(BYTES(out), digest, COMMIT);
    memcpy(BYTES(out) + COMMIT, BYTES(nonce), NONCE);
    body = BYTES(out) + COMMIT + NONCE;
    tag = body + SIZE(clear);
    return right_or_null(out, gcm_begin(sealing, call, i, key, BYTES(nonce)) &&
                                  gcm_text(sealing, body, BYTES(clear), SIZE(clear)) &&
                                  ssl.EVP_CipherFinal_ex(sealing, tag, &rest) == 1 && rest == 0 &&
                                  ssl.EVP_CIPHER_CTX_ctrl(sealing, GET_TAG, TAG, tag) == 1);
}

static PyObject *opened(Call *call, Py_ssize_t i)
{
    PyObject *label = cell(&call->column[0], i), *key = cell(&call->column[1], i);
    PyObject *given = cell(&call->column[2], i), *out;
    byte digest[HASH], tag[TAG], *nonce, *body;
    size_t size;
    int rest = 0;
    if (key == Py_None || SIZE(given) < OVERHEAD)
        return Py_NewRef(Py_None);
    nonce = BYTES(given) + COMMIT;
    body = nonce + NONCE;
    if (!commitment(&call->mac, label, key, nonce, digest))
        return NULL;
    if (ssl.CRYPTO_memcmp(digest, BYTES(given), COMMIT) != 0)
        return Py_NewRef(Py_None);
    size = SIZE(given) - OVERHEAD;
    memcpy(tag, body + size, TAG);
    out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!out || !gcm_begin(opening, call, i, key, nonce) || !gcm_text(opening, BYTES(out), body, size) ||
        ssl.EVP_CIPHER_CTX_ctrl(opening, SET_TAG, TAG, tag) != 1)
        return right_or_null(out, 0);
    if (ssl.EVP_CipherFinal_ex(opening, BYTES(out) + size, &rest) == 1)
        return out;
    ssl.ERR_clear_error();
    ssl.OPENSSL_cleanse(BYTES(out), size); /* not authentic: nobody sees it */
    Py_DECREF(out);
    return Py_NewRef(Py_None);
}

/* ---- calls --------------------------------------------------------------------------------------------- */
/* Does every row, then lets keys be forgotten. The list comes before any context is touched: making it may
 * run the collector, and with it anybody's code. */
static PyObject *each(Call *call, int right, PyObject *(*row)(Call *, Py_ssize_t), EVP_CIPHER_CTX *context)
{
    PyObject *out = NULL;
    if (right && call->n < 0)
        PyErr_SetString(PyExc_ValueError, "one column at least");
    else if (right && (out = PyList_New(call->n))) {
        for (Py_ssize_t i = 0; right && i < call->n; i++) {
            PyObject *made = row(call, i);
            right = made != NULL;
            PyList_SET_ITEM(out, i, made);
        }
        ssl.OPENSSL_cleanse(&call->mac, sizeof call->mac);
        right = hash_new() && right;
        right = (!context || cipher_key(context, ZEROS, NULL)) && right;
        if (!right) {
            Py_CLEAR(out);
            if (!PyErr_Occurred())
                refused();
        }
    }
    PyMem_Free(call->pieces);
    return out;
}

#define CALL(name) static PyObject *name(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
#define COLUMN(k, size, none) column_of(&call, args[k], &call.column[k], size, none)
#define PIECES(k) pieces_of(&call, args[k])

CALL(joins)
{
    Call call = {.n = -1};
    return each(&call, ready(nargs, 1) && PIECES(0), joined, NULL);
}

CALL(macs)
{
    Call call = {.n = -1};
    return each(&call, ready(nargs, 2) && COLUMN(0, 0, 0) && PIECES(1), authenticated, NULL);
}

CALL(mac)
{
    PyObject *out;
    Mac one;
    int right;
    if (nargs < 1 || !hash) {
        PyErr_SetString(PyExc_TypeError, "a key is needed, and load()");
        return NULL;
    }
    for (Py_ssize_t p = 0; p < nargs; p++)
        if (!PyBytes_Check(args[p])) {
            PyErr_SetString(PyExc_TypeError, "a MAC is of bytes");
            return NULL;
        }
    if (!(out = PyBytes_FromStringAndSize(NULL, HASH)))
        return NULL;
    right = mac_begin(&one, args[0]);
    for (Py_ssize_t p = 1; right && p < nargs; p++)
        right = hash_more(BYTES(args[p]), SIZE(args[p]));
    right = right && mac_end(&one, BYTES(out));
    ssl.OPENSSL_cleanse(&one, sizeof one);
    if (hash_new() && right)
        return out;
    Py_DECREF(out);
    return refused();
}

CALL(wraps)
{
    Call call = {.n = -1};
    return each(&call, ready(nargs, 2) && COLUMN(0, KEY, 0) && COLUMN(1, KEY, 0), wrapped, wrapping);
}

CALL(unwraps)
{
    Call call = {.n = -1};
    return each(&call, ready(nargs, 2) && COLUMN(0, KEY, 0) && COLUMN(1, 0, 0), unwrapped, unwrapping);
}

CALL(seals)
{
    Call call = {.n = -1};
    int right = ready(nargs, 5) && COLUMN(0, 0, 0) && COLUMN(1, KEY, 0) && COLUMN(2, NONCE, 0);
    return each(&call, right && COLUMN(3, 0, 0) && PIECES(4), sealed, sealing);
}

CALL(opens)
{
    Call call = {.n = -1};
    int right = ready(nargs, 4) && COLUMN(0, 0, 0) && COLUMN(1, KEY, 1) && COLUMN(2, 0, 0) && PIECES(3);
    return each(&call, right, opened, opening);
}

/* ---- loading ------------------------------------------------------------------------------------------- */
static EVP_CIPHER_CTX *cipher(const char *name, int direction)
{
    EVP_CIPHER *found = ssl.EVP_CIPHER_fetch(NULL, name, NULL);
    EVP_CIPHER_CTX *context = found ? ssl.EVP_CIPHER_CTX_new() : NULL;
    if (!context)
        return NULL;
    if (ssl.EVP_CipherInit_ex(context, found, NULL, NULL, NULL, direction) != 1)
        return NULL;
    return ssl.EVP_CIPHER_CTX_set_padding(context, 0) == 1 ? context : NULL;
}

static PyObject *load(PyObject *self, PyObject *name)
{
    const char *path = PyUnicode_AsUTF8(name);
    if (!path)
        return NULL;
    if (hash)
        return PyUnicode_FromString(ssl.OpenSSL_version(0)); /* once for all: contexts live in the library */
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return PyErr_Format(PyExc_OSError, "%s", dlerror());
#define LOOK_UP(type, name, arguments)                                                                      \
    if (!(*(void **)&ssl.name = dlsym(library, #name)))                                                     \
        return PyErr_Format(PyExc_OSError, "no %s in %s", #name, path);
    FUNCTIONS(LOOK_UP)
    EVP_MD *sha256 = ssl.EVP_MD_fetch(NULL, "SHA256", NULL);
    EVP_MD_CTX *context = sha256 ? ssl.EVP_MD_CTX_new() : NULL;
    if (!context || ssl.EVP_DigestInit_ex2(context, sha256, NULL) != 1 ||
        !(sealing = cipher("AES-256-GCM", ENCRYPT)) || !(opening = cipher("AES-256-GCM", DECRYPT)) ||
        !(wrapping = cipher("AES-256-ECB", ENCRYPT)) || !(unwrapping = cipher("AES-256-ECB", DECRYPT)))
        return refused();
    hash = context;
    return PyUnicode_FromString(ssl.OpenSSL_version(0));
}

static PyMethodDef methods[] = {
    {"load", load, METH_O, "Find OpenSSL in this library; returns its version."},
    {"joins", (PyCFunction)(void (*)(void))joins, METH_FASTCALL, "See vault.columns_plain."},
    {"macs", (PyCFunction)(void (*)(void))macs, METH_FASTCALL, "See vault.columns_plain."},
    {"mac", (PyCFunction)(void (*)(void))mac, METH_FASTCALL, "See vault.columns_plain."},
    {"wraps", (PyCFunction)(void (*)(void))wraps, METH_FASTCALL, "See vault.columns_plain."},
    {"unwraps", (PyCFunction)(void (*)(void))unwraps, METH_FASTCALL, "See vault.columns_plain."},
    {"seals", (PyCFunction)(void (*)(void))seals, METH_FASTCALL, "See vault.columns_plain."},
    {"opens", (PyCFunction)(void (*)(void))opens, METH_FASTCALL, "See vault.columns_plain."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {.m_base = PyModuleDef_HEAD_INIT, .m_name = "_columns",
                                    .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__columns(void) { return PyModule_Create(&module); }
