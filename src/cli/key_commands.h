// What the subcommands of `tidelock key` do; key.cc says how they are called.
//
// Threads: one. Blocking, on files only. Each prints, and answers the exit code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/common.h"

namespace tidelock {

// Of all of them together: each looks at its own.
struct KeyOptions {
  std::string out, file, root, previous, snapshot_file, timestamp_file, domain, note, name_space, publisher, role;
  std::string tolerance;  // of the releases; empty: the manifest's default
  std::vector<std::string> roots, keys, snapshot_keys, timestamp_keys, namespaces, releases, withdrawn, targets;
  std::uint32_t threshold = 1;
  std::uint64_t days = 365, targets_days = 90, snapshot_days = 30, hours = 24;
  bool remove = false;
};

int key_new(const Common& common, const KeyOptions& o);
int key_root_init(const Common& common, const KeyOptions& o);
int key_root_sign(const Common& common, const KeyOptions& o);
int key_root_renew(const Common& common, const KeyOptions& o);
int key_rotate(const Common& common, const KeyOptions& o);
int key_targets(const Common& common, const KeyOptions& o);
int key_snapshot(const Common& common, const KeyOptions& o);
int key_timestamp(const Common& common, const KeyOptions& o);
int key_sign(const Common& common, const KeyOptions& o);
int key_show(const Common& common, const KeyOptions& o);
int key_verify(const Common& common, const KeyOptions& o);
int key_push(const Common& common, const KeyOptions& o);  // to the cluster of common.config

}  // namespace tidelock
