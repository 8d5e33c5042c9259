// HubModelCare is what an operator has done with this hub's own store of models: verify, repair, gc (M8, X3). What
// should be here are the files of every release that the ledger, as far as this hub has applied it, holds.
//
// Threads: any. Repairs block on other hubs, on the care's own thread.
// Never:   removes a file that a release names, nor one that may be on its way into the ledger: files come to hubs
// before
//          their manifest is published, so what is of no release stays for kPublishGrace after it was written or last
//          asked for.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/result.h"
#include "hub/state_rows.h"
#include "protocol/admin.h"
#include "store/models/store_care.h"

namespace tidelock {

class HubModelCare {
 public:
  static constexpr Nanos kPublishGrace = 600 * kSecond;
  static constexpr Nanos kPartialGrace = 24 * 3600 * kSecond;  // an upload that may go on
  static constexpr std::size_t kAskedMax = 65'536;

  struct Parts {
    BlobStore& blobs;
    const StateRows& rows;
    std::function<Result<void>(BytesView sha256)> pull;  // from another hub, or from the object store
    // This hub has applied all that was committed before the call. A hub that was cut off may not have heard of a
    // publish that counts on its files (M2). None: it always has.
    std::function<Result<void>()> caught_up = {};
    bool copies = false;  // published files rest in the object store: what is not here is not missing
  };
  explicit HubModelCare(Parts parts);
  AdminAnswer answer(const StoreCall& call);
  // An operator or another hub asks whether these are here: a publish may be on its way.
  void asked(const std::vector<Bytes>& sha256s);
  bool wait(int timeout_ms) const { return care_.wait(timeout_ms); }  // until nothing is under way
  void stop() { care_.stop(); }

 private:
  Result<std::vector<StoredRelease>> releases() const;
  std::vector<std::string> mend(const std::vector<CheckedFile>& broken);
  Result<std::vector<Garbage>> collect(bool remove);

  const Parts parts_;
  ElapsedClock clock_;
  std::mutex mutex_;
  std::map<Bytes, Nanos> asked_;  // when last
  StoreCare care_;                // last: its thread uses all of the above
};

}  // namespace tidelock
