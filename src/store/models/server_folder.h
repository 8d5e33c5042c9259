// ServerFolder keeps the model repository that an inference server beside this edge reads (M11):
//
//   ROOT/<name>/config.pbtxt         of a release that has one; else whatever an operator put there stays
//   ROOT/<name>/<index>/model.onnx   and the other files of the release; <index> is the ledger index of its activation
//
// Such servers (Triton and its kin) want numbers for versions and serve the highest. An index is one that rises with
// each activation, a rollback included (S5), and it is the fencing token that results of that version should carry.
//
// Threads: one at a time. Blocking. Cost: hard links, or a copy where ROOT lies on another file system.
// Durable: a version appears whole, by one rename, after everything in it was synced.
// Errors:  kNotFound a file of the release is missing; kBusy disk full, naming the path; kInvalid a model's name.
// Never:   touches what is not <name>/<number>, <name>/config.pbtxt or its own leftovers (ROOT/.new-*).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "codec/manifest.h"

namespace tidelock {

inline constexpr std::string_view kServerConfigName = "config.pbtxt";
inline constexpr std::size_t kServerConfigBytesMax = 1u << 20;

class ServerFolder {
 public:
  // Creates ROOT and sweeps what an interrupted place left behind.
  static Result<std::unique_ptr<ServerFolder>> open(const std::string& root);

  // `release` is a folder that holds the files of `manifest`, verified. Nothing happens when the version is there.
  Result<void> place(Index activation, const std::string& release, const Manifest& manifest);
  // Removes the versions of a model that are not in `keep`.
  Result<void> prune(std::string_view name, const std::vector<Index>& keep);
  // Of one model, ascending.
  std::vector<Index> versions(std::string_view name) const;

 private:
  explicit ServerFolder(std::string root) : root_(std::move(root)) {}
  std::string folder(std::string_view name, Index activation) const;
  const std::string root_;
};

}  // namespace tidelock
