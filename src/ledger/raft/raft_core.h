/* A thin C face on libraft's raft_step with opaque handles: raft.h is not valid C++ (RAFT 6), so only raft_core.c sees
 * it.
 *
 * Threads:   one at a time per handle.
 * Ownership: pointers handed in are borrowed for the call, pointers handed to callbacks for the callback.
 * Errors:    0, or a libraft code; tl_raft_strerror names it. After a code other than TL_RAFT_NOT_LEADER,
 *            TL_RAFT_NO_SPACE and TL_RAFT_CANT_CHANGE the handle may only be closed.
 * Callbacks must not throw and must not call back into the handle. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tl_raft tl_raft;

enum { TL_RAFT_NOT_LEADER = 7, TL_RAFT_CANT_CHANGE = 11, TL_RAFT_NO_SPACE = 22 }; /* checked against raft.h */
enum { TL_RAFT_COMMAND = 1, TL_RAFT_BARRIER = 2, TL_RAFT_CHANGE = 3 };
enum {
  TL_RAFT_APPEND = 1,
  TL_RAFT_APPEND_RESULT,
  TL_RAFT_VOTE,
  TL_RAFT_VOTE_RESULT,
  TL_RAFT_INSTALL,
  TL_RAFT_TIMEOUT_NOW
};

typedef struct {
  uint64_t id;
  const char* address;
  unsigned election_timeout_ms, heartbeat_ms, install_timeout_ms, max_inflight_entries;
  unsigned seed;
} tl_raft_settings;

/* libraft reads the payload of TL_RAFT_CHANGE only; other entries travel without theirs. */
typedef struct {
  uint64_t term;
  int type;
  const void* data;
  size_t size;
} tl_raft_entry;

typedef struct {
  uint64_t index, term, configuration_index;
  const void* configuration; /* encoded by libraft; validate before handing in */
  size_t configuration_size;
} tl_raft_snapshot;

/* All kinds of messages in one struct; which fields count depends on `type`. `peer` is sender or receiver. */
typedef struct {
  int type;
  unsigned version;
  uint64_t peer, term;
  uint64_t last_index, last_term;         /* VOTE, INSTALL, TIMEOUT_NOW; last_index also APPEND_RESULT */
  uint64_t prev_index, prev_term, commit; /* APPEND */
  const tl_raft_entry* entries;           /* APPEND, received */
  unsigned n_entries;                     /* APPEND: sent ones carry only the count */
  uint64_t rejected;                      /* APPEND_RESULT */
  unsigned features, capacity;            /* both results */
  bool disrupt_leader, pre_vote, granted; /* VOTE, VOTE_RESULT */
  uint64_t configuration_index;           /* INSTALL */
  const void* configuration;              /* INSTALL, received */
  size_t configuration_size;
} tl_raft_message;

/* What a step demands, called in this order. */
typedef struct {
  void* context;
  void (*vote)(void* context, uint64_t term, uint64_t voted_for);
  void (*install)(void* context, const tl_raft_snapshot* snapshot);
  /* Everything from `index` on is replaced by these. */
  void (*append)(void* context, uint64_t index, const tl_raft_entry* entries, unsigned n);
  void (*send)(void* context, const tl_raft_message* message);
} tl_raft_sink;

/* Null when out of memory. */
tl_raft* tl_raft_open(const tl_raft_settings* settings);
void tl_raft_close(tl_raft* r);

/* Each step: `now_ms` never falls. `entries` of start follow the snapshot or begin at index 1 with a TL_RAFT_CHANGE. */
int tl_raft_start(tl_raft* r, uint64_t now_ms, uint64_t term, uint64_t voted_for, const tl_raft_snapshot* snapshot,
                  uint64_t first_index, const tl_raft_entry* entries, unsigned n, const tl_raft_sink* sink);
int tl_raft_receive(tl_raft* r, uint64_t now_ms, const tl_raft_message* message, const tl_raft_sink* sink);
int tl_raft_submit(tl_raft* r, uint64_t now_ms, const tl_raft_entry* entries, unsigned n, const tl_raft_sink* sink);
int tl_raft_tick(tl_raft* r, uint64_t now_ms, const tl_raft_sink* sink);
int tl_raft_persisted_entries(tl_raft* r, uint64_t now_ms, uint64_t index, const tl_raft_sink* sink);
int tl_raft_persisted_snapshot(tl_raft* r, uint64_t now_ms, const tl_raft_snapshot* snapshot, const tl_raft_sink* sink);
int tl_raft_snapshot_taken(tl_raft* r, uint64_t now_ms, const tl_raft_snapshot* snapshot, unsigned trailing,
                           const tl_raft_sink* sink);
/* Asks `to`, a voter, to take over as soon as it has everything; commands are refused meanwhile. On a leader only, and
 * with no transfer under way. */
int tl_raft_transfer(tl_raft* r, uint64_t now_ms, uint64_t to, const tl_raft_sink* sink);
/* A committed TL_RAFT_CHANGE. */
int tl_raft_configuration(tl_raft* r, uint64_t now_ms, uint64_t index, const void* data, size_t size,
                          const tl_raft_sink* sink);

bool tl_raft_is_leader(const tl_raft* r);
uint64_t tl_raft_leader(const tl_raft* r); /* 0 = none known */
uint64_t tl_raft_term(const tl_raft* r);
uint64_t tl_raft_commit_index(const tl_raft* r);
uint64_t tl_raft_last_index(const tl_raft* r);
uint64_t tl_raft_last_stored(const tl_raft* r);
uint64_t tl_raft_timeout_ms(const tl_raft* r);
uint64_t tl_raft_match_index(const tl_raft* r, uint64_t peer); /* on a leader, of a member; else 0 */
uint64_t tl_raft_transferee(const tl_raft* r);                 /* 0 = no transfer under way */
bool tl_raft_installing(const tl_raft* r);
const char* tl_raft_strerror(int code);

#ifdef __cplusplus
}
#endif
