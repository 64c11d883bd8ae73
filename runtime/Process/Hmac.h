//===- Hmac.h - proves to a peer that both know a secret ------*- C++ -*-===//
//
// HMAC (RFC 2104) over SHA-256 (FIPS 180-4). The runtime depends on no library
// of cryptography for one handshake per connection.
//
//===----------------------------------------------------------------------===//

#ifndef CLEAVE_RUNTIME_PROCESS_HMAC_H
#define CLEAVE_RUNTIME_PROCESS_HMAC_H

#include <array>
#include <cstdint>
#include <string_view>

namespace cleave::runtime {

using Digest = std::array<uint8_t, 32>;

Digest sha256(std::string_view text);

Digest hmac(std::string_view key, std::string_view text);

/// In a time that says nothing about where they differ.
bool equalDigests(const Digest &a, const Digest &b);

} // namespace cleave::runtime

#endif // CLEAVE_RUNTIME_PROCESS_HMAC_H
