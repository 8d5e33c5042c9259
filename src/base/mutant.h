// TIDELOCK_MUTANT(kName) marks where a rule can be broken on purpose, so that the simulator can show that it would be
// noticed. In the product it is the constant false and leaves no trace; only the simulator's own build of the cores
// defines TIDELOCK_MUTANTS. What each one breaks is told in sim/mutants.cc.
//
// Threads: the chosen mutant is one per thread, so that seeds can run side by side.
#pragma once

#include <cstdint>

namespace tidelock {

enum class Mutant : std::uint8_t {
  kNone,
  // leases and proofs, at the hub
  kLeaseWaitWithoutWindow,
  kNoLeaseWait,
  kNoWindowWait,
  kWaitFromProposal,
  kAuthorityFromApply,
  kProofWithoutAuthority,
  kNoFencing,
  kTermResumed,
  kHubClockReadPerTick,
  kFirstExpiryKept,
  kLeaseTableDropped,
  kShortenWithoutWaiting,
  kShortenIgnoresOwnWait,
  kLongLeaseEarly,
  kHubIgnoresSuspend,
  kJumpNotTold,
  kJumpedTimeCounts,
  kRemovalWithoutWaiting,
  kRetryAnsweredEarly,
  kFencedRemovalCounts,
  kLeaseToStranger,
  kRemovedEdgeRenewed,
  kUnknownTakenForDone,
  // leases and proofs, at the edge
  kEdgeClockReadPerTick,
  kLeaseFromReceipt,
  kFreshFromReceipt,
  kMarkMatchesNewestProbe,
  kLeaseTooLong,
  kLeaseIgnoresDrift,
  kBoundIgnoresDrift,
  kClockFaultIgnored,
  kUnrevokedPageIgnored,
  // blocks
  kAppendWithoutAcks,
  kExceptionByLeaseholders,
  kBlockBeforeWindowWait,
  kMarkClosesOwnTerm,
  kRecordClosesAll,
  kHigherNumberClosesLower,
  kOpenBlocksNotTold,
  kBlockReleasedAtAppend,
  kWelcomeClosesBlocks,
  kOwnWriteIgnored,
  kUnknownTakenForNever,
  kOneDropSpeaksForAll,
  kFencedSpeaksForOwn,
  kUnblockNotTold,
  kAckBeforePage,
  kBlocksNotCounted,
  kStrongByInterest,
  // reads and fills
  kValueBeforeBlocks,
  kFreshAfterValue,
  kBoundFromFirstClock,
  kFallbackNotAged,
  kSnapshotMixed,
  kSnapshotIgnoresBlocks,
  kSlotLoadedAfterValue,
  kSlotBumpedBeforeValue,
  kSlotNotBumped,
  kBlockClosedBeforeValue,
  kFillProvenAtReceipt,
  kOldEntriesStayVerified,
  kSessionsShareEpoch,
  kDiskTrusted,
  kNoInterestWhenSame,
  kInterestClearedByPush,
  kInterestFullDropped,
  kNoReplay,
  kResetNotTold,
  kResetIgnored,
  kReplayShownAgain,
  kNoTermTestAtOpen,
  kHoleAccepted,
  kEpochsNotShown,
  kExpiryFromReceipt,
  kTokenIgnored,
  kOldProofForStrong,
  kUnsequencedForStrong,
  kFallbackUnflagged,
  kHitIgnoresBlocks,
  kHitIgnoresBound,
  kDroppedProofsCount,
  kLeasedBoundIsZero,
  kOwnWriteVouchedFor,
  kReturnedWriteVouchedFor,
  // data
  kTtlIgnoresWait,
  kIdAppliedTwice,
  kIgnoredLeavesId,
  kBatchAppliedTwice,
  kAckBeforeSync,
  kBatchOutOfOrder,
  kCompositionNotSynced,
  kRefusalTakenForDone,
  kAnyBatchAnswerCounts,
  kTombstoneByAge,
  kRefusedStampLearnt,
  kOlderStampWins,
  kUnstagedActivated,
  // rollouts
  kWaveTakesUnstaged,
  kGateNotJudged,
  kDwellSkipped,
  kAnyoneGoesOn,
  kRollbackForgetsRing,
  kRingReadLast,
  // recalls
  kCertificateBeforeLapse,
  kCertificateForgetsSilent,
  kRecalledComesBack,
  kRecallForgetsRing,
  kRecallLeavesRollout,
  kRecallNotToldAtOpen,
  // writes of several keys
  kStaysNotHeld,
  kCount,
};

}  // namespace tidelock

#ifdef TIDELOCK_MUTANTS
namespace tidelock {
inline constinit thread_local Mutant planted_mutant = Mutant::kNone;
}
#define TIDELOCK_MUTANT(name) (::tidelock::planted_mutant == ::tidelock::Mutant::name)
#else
#define TIDELOCK_MUTANT(name) false
#endif
