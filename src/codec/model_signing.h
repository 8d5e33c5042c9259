// Signatures of a model's files in the format of OpenSSF Model Signing 1.0, so that who trains a model and who serves
// it need not share tools (X2): a Sigstore bundle (JSON) around a DSSE envelope around an in-toto statement that lists
// each file with its SHA-256.
//
// What is understood: bundles signed with a key on the curve P-256, P-384 or P-521 (ECDSA with SHA-256, 384 or 512),
//          and statements that list whole files. Certificates and Sigstore's keyless way need a CA and a log to ask,
//          and lists of shards another way to hash: they are refused by name.
// What it proves: that the owner of the key signed this list. That the files at hand are those of the list is for the
//          caller to compare.
// Threads: pure functions. Cost: one check of a signature, 0.1 to 1 ms by curve, and one pass over the bundle.
// Errors:  kCorrupt what is no such bundle; kInvalid a key of another kind; kDenied a signature that does not hold or a
//          list that contradicts itself.
// Source:  predicate "https://model_signing/signature/v1.0" of the OpenSSF model-signing specification; DSSE 1.0.2;
//          in-toto Statement v1.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

inline constexpr char kModelSigningFile[] = "model.sig";  // its usual name, in the folder that it speaks of
inline constexpr std::size_t kModelSigningBytesMax = 16u << 20;
inline constexpr std::size_t kModelSigningFilesMax = 65'536;
inline constexpr std::size_t kModelSigningPathBytesMax = 4'096;

struct SignedFiles {
  struct File {
    std::string path;  // relative, with '/'; "." where the model is one file
    Bytes sha256;      // 32 bytes
    friend bool operator==(const File&, const File&) = default;
  };
  std::string name;                  // what the signer called the model: not to be trusted to be unique
  std::vector<File> files;           // no path twice
  std::vector<std::string> ignored;  // what the signer left out: paths in the folder, and all below them

  friend bool operator==(const SignedFiles&, const SignedFiles&) = default;
};

Result<SignedFiles> verify_model_signing(std::string_view bundle, std::string_view public_pem);
// The statement within, as its signer wrote it: proves nothing. For verify_model_signing, and for tests of it.
Result<SignedFiles> read_signed_list(std::string_view statement);
// The bundle. The files are listed in the order of their paths.
Result<std::string> sign_model_files(SignedFiles files, std::string_view private_pem);

// That `path` is one of `ignored`, or lies below one.
bool is_ignored(const SignedFiles& files, std::string_view path);

}  // namespace tidelock
