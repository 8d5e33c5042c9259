// How far a version has come to the gateways, what it took and what that saved: `tidelock model stage` and `status`,
// and a part of `rollout watch`.
//
// Bytes are those that hubs sent: a gateway that has the version from a neighbour or a stick took none. What is "saved"
// is against whole files to each gateway that has it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "base/time.h"
#include "cli/common.h"
#include "protocol/admin.h"

namespace CLI {
class App;
}

namespace tidelock {

struct BytesSaved {
  std::uint64_t fetched = 0, whole = 0;
  std::uint64_t saved() const { return whole > fetched ? whole - fetched : 0; }
};
// Of those that can be reached and have it.
BytesSaved saved_by(const TransferView& view);

// From the active hub. A hub of a build before DescribeTransfer tells who has staged what, and no bytes: release_bytes
// is 0 then.
Result<TransferView> transfer_of(Operator& cluster, const std::string& name, const std::string& version);
// 0 to 100, and 100 only once it is verified there; -1: not known.
int transfer_share(const EdgeTransfer& edge);
// By the rate that its link had lately; kForever: not known, or it waits for something else than its link.
Nanos transfer_eta(const EdgeTransfer& edge);

std::string progress_bar(std::uint64_t done, std::uint64_t of);  // "[#####     ]", full where there is nothing to do
std::string saved_words(const BytesSaved& bytes);                // "1.2 MiB fetched instead of 4.0 MiB: 2.8 MiB saved"
// One line for each that can be reached and has not staged it, at most `lines_max`; each begins with a line feed.
std::string transfer_lines(const TransferView& view, std::size_t lines_max);
Json transfer_json(const TransferView& view);

Json model_json(const ModelView& model);

// `model stage` and `model status`. `common` and `exit_code` must outlive the parsing.
void add_model_transfer(CLI::App& model, const Common& common, int& exit_code);

}  // namespace tidelock
