// Makes a signed manifest from a release folder, as `tidelock model publish` does.
//
//   FOLDER/model.onnx                                     required
//   FOLDER/labels.txt  thresholds.*  feature_schema.*     optional
//   FOLDER/golden/<case>/input.<tensor>.<AxBxC>.f32       optional: little-endian, dense
//   FOLDER/golden/<case>/output.<tensor>.<AxBxC>.f32      what must come out
//
// .f32 says how the numbers of a golden file are written; .u8, .i64 and .f16 are the others (TensorType). Any other
// file belongs to the release too. <case> and <tensor> are made of [A-Za-z0-9_-]. Names that begin with '.' are left
// out. Symbolic links and anything that is not a plain file are refused.
//
// Threads: pure apart from reading the folder. Cost: one read of every file.
// Errors:  kInvalid names the file and what would be right; kNotFound the folder or model.onnx is missing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "codec/manifest.h"

namespace tidelock {

struct Release {
  Manifest manifest;               // file paths are relative to the folder
  SignedManifest signed_manifest;  // encode() it for the ledger
};

// `tolerance_millionths` is of every golden case (codec/manifest.h: GoldenCase); without it, the manifest's default. It
// is part of the manifest: the same folder with another tolerance is other content. kInvalid for a folder without
// cases.
Result<Release> build_release(const std::string& folder, std::string_view name, std::string_view version,
                              std::string_view private_pem, std::string_view note = {},
                              std::optional<std::uint32_t> tolerance_millionths = {});

// The files of a folder of a release, or of a placed version, as verify_golden asks for them. Checks the size.
Result<Bytes> read_release_file(const std::string& folder, const ManifestFile& file);

}  // namespace tidelock
