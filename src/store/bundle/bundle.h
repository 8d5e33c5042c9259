// Bundles of a model version (M1, M2): a zip or tar whose first member is the signed manifest, `tidelock.manifest`, and
// whose others are the files that it names, each once.
//
// Threads: an object belongs to one thread at a time. Cost: one pass; about a MiB of memory, whatever the size.
// Errors:  kDenied the signature; kCorrupt a member that is missing, one too many, of another name, kind, length or
//          content; kInvalid no zip or tar; kConflict the file to write is there already; kBusy disk full. Each names
//          the bundle and the member.
// Limits:  members and lengths are the manifest's: what a compressed member unpacks to beyond it is never unpacked.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "codec/manifest.h"

namespace tidelock {

inline constexpr std::string_view kBundleManifest = "tidelock.manifest";

enum class BundleFormat : std::uint8_t { kZip, kTar };
// By the end of the name: ".zip" or ".tar".
Result<BundleFormat> bundle_format_of(const std::string& path);

class BundleWriter {
 public:
  // Writes beside `path`, which appears whole at the end. `signed_manifest` must be what `manifest` was opened from.
  static Result<std::unique_ptr<BundleWriter>> create(const std::string& path, BytesView signed_manifest,
                                                      const Manifest& manifest);
  ~BundleWriter();  // without finish() nothing is left
  // The files in the manifest's order: begin one, then its bytes in pieces, in all `size_bytes`.
  Result<void> begin(const ManifestFile& file);
  Result<void> write(BytesView bytes);
  // Synced and under its name. kInvalid when a file is missing or unfinished.
  Result<void> finish();

 private:
  struct Impl;
  explicit BundleWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class BundleReader {
 public:
  // Reads and checks the manifest.
  static Result<std::unique_ptr<BundleReader>> open(const std::string& path, std::string_view public_pem);
  ~BundleReader();
  const Manifest& manifest() const;
  const Bytes& signed_manifest() const;
  // Takes the bytes of one file. An error ends extract with that error.
  using Sink = std::function<Result<void>(BytesView piece)>;
  // Every file once, in the bundle's order: `begin` gives where its bytes go, `end` hears that they were whole and
  // right.
  Result<void> extract(const std::function<Result<Sink>(const ManifestFile&)>& begin,
                       const std::function<Result<void>(const ManifestFile&)>& end);

 private:
  struct Impl;
  explicit BundleReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Extracts into a new folder, as a release folder lies: for `tidelock model import`.
Result<void> extract_bundle(BundleReader& bundle, const std::string& folder);

}  // namespace tidelock
