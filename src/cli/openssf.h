// `tidelock model openssf sign` and `verify`, and what `model publish` asks of a model that somebody else signed in
// that way (codec/model_signing.h; X2).
//
// Threads: one. Blocking. Cost: one read of each file.
#pragma once

#include <string>

#include "cli/common.h"
#include "codec/manifest.h"
#include "codec/model_signing.h"

namespace CLI {
class App;
}

namespace tidelock {

// Below `model`. `common` and `exit_code` must outlive the parsing.
void add_openssf(CLI::App& model, const Common& common, int& exit_code);

// The list that `key_file` signed: in `signature_file`, or where that is empty in the folder's model.sig.
Result<SignedFiles> read_openssf(const std::string& folder, const std::string& signature_file,
                                 const std::string& key_file);
// That a release is what was signed: each of its files but the signature itself, and none is missing but those whose
// names begin with '.', which no release has. kDenied names what differs.
Result<void> is_signed(const Manifest& release, const SignedFiles& list);

}  // namespace tidelock
