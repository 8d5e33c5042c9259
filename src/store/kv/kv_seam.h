// What a test puts below a Kv, and nothing else uses: another file system (one that fails, or loses what was not
// synced) and a smaller write buffer, so that a short script meets flushes and compactions too. Kv::open is open_kv
// with the defaults.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "store/kv/kv.h"

namespace rocksdb {
class Env;
}

namespace tidelock {

struct KvSeam {
  rocksdb::Env* env = nullptr;  // outlives the Kv; null: the machine's own
  std::size_t write_buffer_bytes = 8u << 20;
};

Result<std::unique_ptr<Kv>> open_kv(const std::string& directory, const std::vector<std::string>& families,
                                    const KvSeam& seam);

// Returns when no flush or compaction of `kv` (made by open_kv) runs or is due, or the store has failed.
void wait_until_idle(const Kv& kv);

}  // namespace tidelock
