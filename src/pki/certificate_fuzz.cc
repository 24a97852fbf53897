// Fuzzes the readers of certificates, keys and revocation lists, with the input as PEM and as what stands in PEM. None
// may leave an error in OpenSSL's queue: the next user of TLS on the thread would take it for its own.
#include <openssl/err.h>
#include <openssl/evp.h>

#include <cstddef>
#include <cstdint>
#include <format>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "pki/authority.h"

namespace {

using namespace perdure::pki;

void try_reading(const std::string& pem) {
  if (const auto info = read_certificate(pem)) {
    (void)renewal_time(*info);
    for (const std::string& text : {info->name, info->organisation}) {
      PERDURE_ASSERT(text.size() <= 64 && text.find_first_of(std::string_view("\0\n\x1b", 3)) == std::string::npos);
    }
    PERDURE_ASSERT(info->serial.size() % 2 == 0 && !info->serial.starts_with('-'));
    PERDURE_ASSERT(fingerprint_of(pem).has_value());
  }
  (void)public_key_of(pem);
  (void)read_revocation_list(pem);
  (void)check_key_pair(pem, pem);
  (void)Authority::load(pem, pem);
  PERDURE_ASSERT(ERR_peek_error() == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 16384) return 0;
  try_reading(std::string(reinterpret_cast<const char*>(data), size));
  std::string base64(4 * (size / 3 + 1) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(base64.data()), data, static_cast<int>(size));
  base64.resize(static_cast<std::size_t>(length));
  for (std::size_t at = 64; at < base64.size(); at += 65) base64.insert(at, 1, '\n');
  for (const char* const kind : {"CERTIFICATE", "X509 CRL", "PRIVATE KEY"}) {
    try_reading(std::format("-----BEGIN {0}-----\n{1}\n-----END {0}-----\n", kind, base64));
  }
  return 0;
}
