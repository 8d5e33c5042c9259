#include "sim/mutants.h"

#include <array>

namespace tidelock::sim {
namespace {

using enum Mutant;

constexpr std::array kMutants = {
    MutantInfo{kLeaseWaitWithoutWindow, "lease-wait-without-window", "A4",
               "strong writes wait for the lease only, not for the authority window before it"},
    MutantInfo{kNoLeaseWait, "no-lease-wait", "A4", "strong writes do not wait for leases of the deposed hub"},
    MutantInfo{kNoWindowWait, "no-window-wait", "A4",
               "a new active hub appends at once, whatever proofs the deposed one may still give"},
    MutantInfo{kWaitFromProposal, "wait-from-proposal", "A4",
               "the waits count from the claim's proposal, not from its application"},
    MutantInfo{kAuthorityFromApply, "authority-from-apply", "A2",
               "authority counts from the application of an entry, not from before its append"},
    MutantInfo{kProofWithoutAuthority, "proof-without-authority", "A3",
               "marks and reads are answered without a test of authority"},
    MutantInfo{kNoFencing, "no-fencing", "A1", "commands of an older term take effect"},
    MutantInfo{kTermResumed, "term-resumed", "A1",
               "a restarted hub goes on in the term of its former boot instead of claiming"},
    MutantInfo{kHubClockReadPerTick, "hub-clock-read-per-tick", "C6",
               "the hub's clock is read at ticks only, not anew for each event"},
    MutantInfo{kFirstExpiryKept, "first-expiry-kept", "A3",
               "a renewed lease keeps its first expiry in the hub's table"},
    MutantInfo{kLeaseTableDropped, "lease-dropped-with-session", "A3", "the hub forgets a lease when the session ends"},
    MutantInfo{kShortenWithoutWaiting, "shorten-without-waiting", "A5",
               "the lease is shortened while longer ones are out"},
    MutantInfo{kShortenIgnoresOwnWait, "shorten-ignores-own-wait", "A5",
               "the lease is shortened before the hub's own A4 wait is short enough"},
    MutantInfo{kLongLeaseEarly, "long-lease-early", "A5", "the long lease is granted before its change was applied"},
    MutantInfo{kHubIgnoresSuspend, "hub-ignores-suspend", "C2",
               "a hub goes on in its term after its machine was suspended"},
    MutantInfo{kRemovalWithoutWaiting, "removal-without-waiting", "A6", "an edge is removed while its lease runs"},
    MutantInfo{kRetryAnsweredEarly, "retry-answered-early", "A1",
               "a retry that was applied before is acknowledged before the window wait is over"},
    MutantInfo{kFencedRemovalCounts, "fenced-removal-counts", "A1",
               "a fenced removal ends an edge's lease in the hub's table"},
    MutantInfo{kLeaseToStranger, "lease-to-stranger", "A6", "an edge gets a lease before its registration was applied"},
    MutantInfo{kRemovedEdgeRenewed, "removed-edge-renewed", "A6",
               "an edge that is being removed goes on getting leases"},
    MutantInfo{kWaitIgnoresDrift, "wait-ignores-drift", "A4",
               "the wait for the deposed hub's leases is not stretched by 2 rho"},
    MutantInfo{kUnknownTakenForDone, "unknown-taken-for-done", "A1", "a write with unknown outcome is acknowledged"},
    MutantInfo{kEdgeClockReadPerTick, "edge-clock-read-per-tick", "C6",
               "the edge's clock is read at ticks only, not anew for each event"},
    MutantInfo{kLeaseFromReceipt, "lease-from-receipt", "F4",
               "a lease counts from the receipt of its mark, not from the probe's send"},
    MutantInfo{kFreshFromReceipt, "fresh-from-receipt", "F2",
               "fresh_at is when the mark came, not when its probe was sent"},
    MutantInfo{kMarkMatchesNewestProbe, "mark-matches-newest-probe", "F1",
               "a mark answers the newest probe, whatever its nonce"},
    MutantInfo{kLeaseTooLong, "lease-too-long", "F4", "the edge uses its lease for 1.3 times the length granted"},
    MutantInfo{kLeaseIgnoresDrift, "lease-ignores-drift", "F4", "the edge does not shorten its lease by 2 rho"},
    MutantInfo{kBoundIgnoresDrift, "bound-ignores-drift", "F3", "U does not grow by 2 rho"},
    MutantInfo{kClockFaultIgnored, "clock-fault-ignored", "C3",
               "marks count although the clocks' relative rate is impossible"},
    MutantInfo{kUnrevokedPageIgnored, "unrevoked-page-ignored", "F11",
               "a restarted edge opens a session while a page it could not revoke has a lease"},
    MutantInfo{kAppendWithoutAcks, "append-without-acks", "S3",
               "a strong write is appended before every leaseholder acknowledged its block"},
    MutantInfo{kFormerAckCounts, "former-ack-counts", "S3",
               "an acknowledgement of a former session counts in the next one"},
    MutantInfo{kExceptionByLeaseholders, "exception-by-leaseholders", "A4",
               "the exception of A4 asks the known leaseholders, not every registered edge"},
    MutantInfo{kBlockBeforeWindowWait, "block-before-window-wait", "A4",
               "the exception of A4 counts blocks that were sent before the window wait was over"},
    MutantInfo{kMarkClosesOwnTerm, "mark-closes-own-term", "S2", "a mark closes blocks of its own term"},
    MutantInfo{kRecordClosesAll, "record-closes-all", "S2", "any record closes all blocks"},
    MutantInfo{kHigherNumberClosesLower, "higher-number-closes-lower", "S2",
               "the record of a write closes blocks of lower numbers"},
    MutantInfo{kOpenBlocksNotTold, "open-blocks-not-told", "S1",
               "a new session is not told of the open blocks, and gets a lease"},
    MutantInfo{kBlockReleasedAtAppend, "block-released-at-append", "S1",
               "the hub forgets a block when its write is appended, before it is applied"},
    MutantInfo{kWelcomeClosesBlocks, "welcome-closes-blocks", "F11",
               "unlisted blocks close with the welcome, before the replay is applied"},
    MutantInfo{kOwnWriteIgnored, "own-write-ignored", "A3",
               "a strong read at the hub does not wait for its own appended write"},
    MutantInfo{kUnknownTakenForNever, "unknown-taken-for-never", "S1",
               "an append with unknown outcome is given up without an abort"},
    MutantInfo{kOneDropSpeaksForAll, "one-drop-speaks-for-all", "S1",
               "one refused append of an id is taken for the fate of all appends of it"},
    MutantInfo{kFencedSpeaksForOwn, "fenced-speaks-for-own", "A1",
               "a fenced entry of an earlier term is taken for the fate of this term's append"},
    MutantInfo{kUnblockNotTold, "unblock-not-told", "S1", "edges are not told that a write was given up"},
    MutantInfo{kAckBeforePage, "ack-before-page", "S2", "a block is acknowledged before the page shows it"},
    MutantInfo{kBlocksNotCounted, "blocks-not-counted", "S2",
               "of two blocks of one key the first to close opens it at the edge"},
    MutantInfo{kStrongByInterest, "strong-by-interest", "F2",
               "records of strong keys go only to sessions that asked for the key"},
    MutantInfo{kValueBeforeBlocks, "value-before-blocks", "F5",
               "a reader takes the value first and tests the blocks after"},
    MutantInfo{kFreshAfterValue, "fresh-after-value", "F5", "a reader loads fresh_at after the value"},
    MutantInfo{kBoundFromFirstClock, "bound-from-first-clock", "F6",
               "U counts to the begin of the read, not to its end"},
    MutantInfo{kFallbackNotAged, "fallback-not-aged", "F6",
               "a value to fall back on does not age while other tiers are looked at"},
    MutantInfo{kSnapshotIgnoresGeneration, "snapshot-ignores-generation", "S4",
               "a snapshot is taken although its namespace changed meanwhile"},
    MutantInfo{kSnapshotAheadOfFeed, "snapshot-ahead-of-feed", "S4",
               "a snapshot takes entries that are ahead of the feed"},
    MutantInfo{kSnapshotIgnoresBlocks, "snapshot-ignores-blocks", "S4",
               "a snapshot is taken although a key is blocked"},
    MutantInfo{kSlotLoadedAfterValue, "slot-loaded-after-value", "F5",
               "L1 keeps the slot version loaded after its value was asked for"},
    MutantInfo{kSlotBumpedBeforeValue, "slot-bumped-before-value", "F5",
               "the slot version rises before the arena shows the new value"},
    MutantInfo{kSlotNotBumped, "slot-not-bumped", "F5",
               "the slot version does not rise: L1 entries are never invalidated"},
    MutantInfo{kBlockClosedBeforeValue, "block-closed-before-value", "F5",
               "a block closes before its record's values are shown"},
    MutantInfo{kFillProvenAtReceipt, "fill-proven-at-receipt", "F7",
               "a fetched value is proven at the answer's receipt, not at the request's send"},
    MutantInfo{kReplayBringsBackOlder, "replay-brings-back-older", "F7", "a replayed record replaces a newer version"},
    MutantInfo{kOldEntriesStayVerified, "old-entries-stay-verified", "F8", "entries of a former session stay verified"},
    MutantInfo{kSessionsShareEpoch, "sessions-share-epoch", "F8",
               "a session that ended before its first mark shares its epoch with the next"},
    MutantInfo{kDiskTrusted, "disk-trusted", "F8", "entries from disk are taken for verified"},
    MutantInfo{kNoInterestWhenSame, "no-interest-when-same", "F8",
               "a revalidation whose version matches does not register interest"},
    MutantInfo{kInterestClearedByPush, "interest-cleared-by-push", "F7",
               "interest ends with a record that carried the value"},
    MutantInfo{kInterestFullDropped, "interest-full-dropped", "F7", "interest beyond the table's size is dropped"},
    MutantInfo{kNoReplay, "no-replay", "F11", "a new session does not get the strong records it missed"},
    MutantInfo{kResetNotTold, "reset-not-told", "F11", "a hub that cannot replay does not say so"},
    MutantInfo{kResetIgnored, "reset-ignored", "F11",
               "an edge goes on with strong entries although the hub said reset"},
    MutantInfo{kReplayShownAgain, "replay-shown-again", "F11",
               "a replay shows values again that are older than those shown before"},
    MutantInfo{kNoTermTestAtOpen, "no-term-test-at-open", "F11",
               "a session opens with a hub whose term or index is lower"},
    MutantInfo{kHoleAccepted, "hole-accepted", "F2", "a message that is missing or repeated does not end the session"},
    MutantInfo{kEpochsNotShown, "epochs-not-shown", "F8",
               "apps are not told that entries of a former session are unverified"},
    MutantInfo{kExpiryFromReceipt, "expiry-from-receipt", "C5",
               "the time to live that was left counts from the answer's receipt"},
    MutantInfo{kTokenIgnored, "token-ignored", "F10", "session tokens are not tested"},
    MutantInfo{kOldProofForStrong, "old-proof-for-strong", "F4",
               "a strong read takes a hub's proof from before it began"},
    MutantInfo{kUnsequencedForStrong, "unsequenced-for-strong", "F4",
               "an own write that is not sequenced answers a strong read"},
    MutantInfo{kFallbackUnflagged, "fallback-unflagged", "F3", "a fallback is not flagged"},
    MutantInfo{kOwnWriteVouchedFor, "own-write-vouched-for", "F8",
               "an own write counts as covered where the hub has nobody registered"},
    MutantInfo{kTtlIgnoresWait, "ttl-ignores-wait", "C5",
               "what a write waited at the edge is not taken from its time to live"},
    MutantInfo{kIdAppliedTwice, "id-applied-twice", "A1", "a command whose id was applied takes effect again"},
    MutantInfo{kIgnoredLeavesId, "ignored-leaves-id", "A1", "a fenced command is remembered as applied"},
    MutantInfo{kBatchAppliedTwice, "batch-applied-twice", "D5", "a batch sent again after a lost reply counts again"},
    MutantInfo{kAckBeforeSync, "ack-before-sync", "D1", "the outbox acknowledges a durable write before its sync"},
    MutantInfo{kBatchOutOfOrder, "batch-out-of-order", "G9", "the outbox leaves its oldest record behind"},
    MutantInfo{kCompositionNotSynced, "composition-not-synced", "D5",
               "a batch is sent before its composition is on disk"},
    MutantInfo{kRefusalTakenForDone, "refusal-taken-for-done", "D5", "a batch that was refused is taken for done"},
    MutantInfo{kAnyBatchAnswerCounts, "any-batch-answer-counts", "D5",
               "the answer to an earlier batch is taken for that of the one on its way"},
    MutantInfo{kTombstoneByAge, "tombstone-by-age", "G9", "tombstones are collected without proof"},
    MutantInfo{kRefusedStampLearnt, "refused-stamp-learnt", "G8", "a stamp that was refused moves the own clock"},
    MutantInfo{kOlderStampWins, "older-stamp-wins", "G8", "an older stamp replaces a newer one at the hub"},
    MutantInfo{kUnstagedActivated, "unstaged-activated", "M5", "a version is activated that no edge has verified"},
};
static_assert(kMutants.size() + 1 == static_cast<std::size_t>(kCount));

constexpr bool in_order() {
  for (std::size_t i = 0; i < kMutants.size(); ++i) {
    if (static_cast<std::size_t>(kMutants[i].mutant) != i + 1) return false;
  }
  return true;
}
static_assert(in_order());

}  // namespace

std::span<const MutantInfo> all_mutants() { return kMutants; }

const MutantInfo* find_mutant(std::string_view name) {
  for (const MutantInfo& info : kMutants) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

bool set_mutant(std::string_view name) {
  const MutantInfo* info = find_mutant(name);
  planted_mutant = info == nullptr ? Mutant::kNone : info->mutant;
  return info != nullptr || name.empty();
}

}  // namespace tidelock::sim
