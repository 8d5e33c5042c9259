// Trust files (codec/trust.h) and key files on an operator's disk: read, written, and said in plain words.
//
// Threads: one. Blocking. Limits: those of the files themselves, tested before they are read whole.
// Errors:  name the path, what it holds and what would be right.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/common.h"
#include "codec/trust.h"

namespace tidelock {

// NAME.pem, for its owner alone, and NAME.pub.pem. Never over a file that is there.
struct NewKey {
  std::string private_file, public_file, key_id;  // key_id: what people compare
};
Result<NewKey> make_key_files(const std::string& name);

// Raw keys of public PEM files, ascending. A private key is refused: whoever lists keys needs none.
Result<std::vector<Bytes>> read_public_keys(const std::string& option, const std::vector<std::string>& paths);
Result<std::string> read_private_key(const std::string& option, const std::string& path);

Result<SignedTrust> read_trust_file(const std::string& path);
Result<SignedTrust> read_trust_file(const std::string& path, TrustRole role);
// As one file: the former one or the new one, whatever happens.
Result<void> write_trust_file(const std::string& path, const SignedTrust& file);

// "3f8a91c2": enough for people.
std::string key_word(BytesView key_id);
// "2 of 3 keys (3f8a91c2, 77aa0e31, 9b11f00d), since root 1"
std::string keys_words(const TrustKeys& keys);

// What a file says, line by line. No signature is checked: who reads it decides whom to believe.
Result<std::string> trust_words(const SignedTrust& file);
Result<Json> trust_json(const SignedTrust& file);

}  // namespace tidelock
