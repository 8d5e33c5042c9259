/* Ownership in libraft 0.22.1, as found by reading and tried under a leak checker:
 * - start: entries and their batch stay ours; the snapshot's configuration becomes the library's.
 * - submit and received append: the batch is the library's until it hands it back in update.entries (then we free it)
 * or drops it. The entry array stays ours and must live through the step.
 * - received install: data and configuration become the library's, or come back in update.snapshot.
 * - persisted snapshot, snapshot taken, configuration: the configuration becomes the library's. */
#include "ledger/raft/raft_core.h"

#include <raft.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(RAFT_VERSION_NUMBER >= 2201, "libraft below 0.22.1 loses acknowledged writes (RAFT 4)");
#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours)
SAME(TL_RAFT_CANT_CHANGE, RAFT_CANTCHANGE);
SAME(TL_RAFT_NOT_LEADER, RAFT_NOTLEADER);
SAME(TL_RAFT_NO_SPACE, RAFT_NOSPACE);
SAME(TL_RAFT_COMMAND, RAFT_COMMAND);
SAME(TL_RAFT_BARRIER, RAFT_BARRIER);
SAME(TL_RAFT_CHANGE, RAFT_CHANGE);
SAME(TL_RAFT_APPEND, RAFT_APPEND_ENTRIES);
SAME(TL_RAFT_APPEND_RESULT, RAFT_APPEND_ENTRIES_RESULT);
SAME(TL_RAFT_VOTE, RAFT_REQUEST_VOTE);
SAME(TL_RAFT_VOTE_RESULT, RAFT_REQUEST_VOTE_RESULT);
SAME(TL_RAFT_INSTALL, RAFT_INSTALL_SNAPSHOT);
SAME(TL_RAFT_TIMEOUT_NOW, RAFT_TIMEOUT_NOW);

enum { ADDRESS_BYTES = 24 };

struct tl_raft {
  struct raft raft;
};

/* The library wants an address with every message and compares them; ours are the numbers. */
static void format_address(char out[ADDRESS_BYTES], uint64_t id) {
  snprintf(out, ADDRESS_BYTES, "%llu", (unsigned long long)id);
}

static int decode_configuration(const void* data, size_t size, struct raft_configuration* out) {
  struct raft_buffer buffer = {(void*)data, size};
  raft_configuration_init(out);
  return raft_configuration_decode(&buffer, out);
}

static void emit_message(struct raft* r, const struct raft_message* in, const tl_raft_sink* sink) {
  (void)r;
  tl_raft_message out;
  memset(&out, 0, sizeof out);
  out.type = (int)in->type;
  out.peer = in->server_id;
  switch (in->type) {
    case RAFT_APPEND_ENTRIES:
      out.version = in->append_entries.version;
      out.term = in->append_entries.term;
      out.prev_index = in->append_entries.prev_log_index;
      out.prev_term = in->append_entries.prev_log_term;
      out.commit = in->append_entries.leader_commit;
      out.n_entries = in->append_entries.n_entries;
      break;
    case RAFT_APPEND_ENTRIES_RESULT:
      out.version = in->append_entries_result.version;
      out.term = in->append_entries_result.term;
      out.rejected = in->append_entries_result.rejected;
      out.last_index = in->append_entries_result.last_log_index;
      out.features = in->append_entries_result.features;
      out.capacity = in->append_entries_result.capacity;
      break;
    case RAFT_REQUEST_VOTE:
      out.version = in->request_vote.version;
      out.term = in->request_vote.term;
      out.last_index = in->request_vote.last_log_index;
      out.last_term = in->request_vote.last_log_term;
      out.disrupt_leader = in->request_vote.disrupt_leader;
      out.pre_vote = in->request_vote.pre_vote;
      break;
    case RAFT_REQUEST_VOTE_RESULT:
      out.version = in->request_vote_result.version;
      out.term = in->request_vote_result.term;
      out.granted = in->request_vote_result.vote_granted;
      out.pre_vote = in->request_vote_result.pre_vote;
      out.features = in->request_vote_result.features;
      out.capacity = in->request_vote_result.capacity;
      break;
    case RAFT_INSTALL_SNAPSHOT: /* configuration and data are the caller's to fill */
      out.version = in->install_snapshot.version;
      out.term = in->install_snapshot.term;
      out.last_index = in->install_snapshot.last_index;
      out.last_term = in->install_snapshot.last_term;
      out.configuration_index = in->install_snapshot.conf_index;
      break;
    case RAFT_TIMEOUT_NOW:
      out.version = in->timeout_now.version;
      out.term = in->timeout_now.term;
      out.last_index = in->timeout_now.last_log_index;
      out.last_term = in->timeout_now.last_log_term;
      break;
    default: return;
  }
  sink->send(sink->context, &out);
}

static int emit_install(struct raft_update* update, const tl_raft_sink* sink) {
  struct raft_snapshot_metadata* m = &update->snapshot.metadata;
  struct raft_buffer encoded = {NULL, 0};
  int rv = raft_configuration_encode(&m->configuration, &encoded);
  if (rv == 0) {
    const tl_raft_snapshot out = {m->index, m->term, m->configuration_index, encoded.base, encoded.len};
    sink->install(sink->context, &out);
    raft_free(encoded.base);
  }
  raft_configuration_close(&m->configuration);
  raft_free(update->snapshot.chunk.base);
  return rv;
}

static int emit_append(struct raft_update* update, const tl_raft_sink* sink) {
  const unsigned n = update->entries.n;
  tl_raft_entry* out = calloc(n, sizeof *out);
  if (out == NULL) return RAFT_NOMEM;
  for (unsigned i = 0; i < n; ++i) {
    const struct raft_entry* e = &update->entries.batch[i];
    out[i].term = e->term;
    out[i].type = (int)e->type;
    out[i].data = e->buf.base;
    out[i].size = e->buf.len;
  }
  sink->append(sink->context, update->entries.index, out, n);
  free(out);
  raft_free(update->entries.batch[0].batch);
  return 0;
}

static int step(tl_raft* r, struct raft_event* event, uint64_t now_ms, const tl_raft_sink* sink) {
  struct raft_update update;
  memset(&update, 0, sizeof update);
  event->time = now_ms;
  int rv = raft_step(&r->raft, event, &update);
  if (rv != 0) return rv;
  if (update.flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR)) {
    sink->vote(sink->context, raft_current_term(&r->raft), raft_voted_for(&r->raft));
  }
  if (update.flags & (RAFT_UPDATE_SNAPSHOT)) rv = emit_install(&update, sink);
  if (rv == 0 && (update.flags & (RAFT_UPDATE_ENTRIES))) rv = emit_append(&update, sink);
  if (rv == 0 && (update.flags & (RAFT_UPDATE_MESSAGES))) {
    for (unsigned i = 0; i < update.messages.n; ++i) emit_message(&r->raft, &update.messages.batch[i], sink);
  }
  return rv;
}

static void new_event(struct raft_event* event, enum raft_event_type type) {
  memset(event, 0, sizeof *event);
  event->type = type;
}

tl_raft* tl_raft_open(const tl_raft_settings* settings) {
  tl_raft* r = calloc(1, sizeof *r);
  if (r == NULL) return NULL;
  if (raft_init(&r->raft, NULL, NULL, settings->id, settings->address) != 0) {
    free(r);
    return NULL;
  }
  raft_seed(&r->raft, settings->seed);
  raft_set_election_timeout(&r->raft, settings->election_timeout_ms);
  raft_set_heartbeat_timeout(&r->raft, settings->heartbeat_ms);
  raft_set_install_snapshot_timeout(&r->raft, settings->install_timeout_ms);
  raft_set_pre_vote(&r->raft, true);
  raft_set_max_inflight_entries(&r->raft, settings->max_inflight_entries);
  return r;
}

void tl_raft_close(tl_raft* r) {
  if (r == NULL) return;
  raft_close(&r->raft, NULL);
  free(r);
}

/* One block of raft memory stands for the payloads that the library never reads. */
static struct raft_entry* borrow_entries(const tl_raft_entry* in, unsigned n, uint64_t term, void** batch) {
  struct raft_entry* out = calloc(n, sizeof *out);
  *batch = raft_malloc(8);
  if (out == NULL || *batch == NULL) {
    free(out);
    raft_free(*batch);
    return NULL;
  }
  for (unsigned i = 0; i < n; ++i) {
    out[i].term = term != 0 ? term : in[i].term;
    out[i].type = (enum raft_entry_type)in[i].type;
    out[i].buf.base = (void*)in[i].data;
    out[i].buf.len = in[i].size;
    out[i].batch = *batch;
  }
  return out;
}

int tl_raft_start(tl_raft* r, uint64_t now_ms, uint64_t term, uint64_t voted_for, const tl_raft_snapshot* snapshot,
                  uint64_t first_index, const tl_raft_entry* entries, unsigned n, const tl_raft_sink* sink) {
  struct raft_event event;
  new_event(&event, RAFT_START);
  struct raft_snapshot_metadata metadata;
  event.start.term = term;
  event.start.voted_for = voted_for;
  event.start.start_index = first_index;
  if (snapshot != NULL) {
    metadata.index = snapshot->index;
    metadata.term = snapshot->term;
    metadata.configuration_index = snapshot->configuration_index;
    int rv = decode_configuration(snapshot->configuration, snapshot->configuration_size, &metadata.configuration);
    if (rv != 0) return rv;
    event.start.metadata = &metadata;
  }
  void* batch = NULL;
  if (n > 0) {
    event.start.entries = borrow_entries(entries, n, 0, &batch);
    if (event.start.entries == NULL) return RAFT_NOMEM;
    event.start.n_entries = n;
  }
  int rv = step(r, &event, now_ms, sink);
  if (n > 0) {
    if (rv == 0) { /* on failure the library has freed the batch and the array */
      raft_free(batch);
      free(event.start.entries);
    }
  }
  return rv;
}

int tl_raft_receive(tl_raft* r, uint64_t now_ms, const tl_raft_message* in, const tl_raft_sink* sink) {
  char address[ADDRESS_BYTES];
  format_address(address, in->peer);
  struct raft_message message;
  memset(&message, 0, sizeof message);
  message.type = (enum raft_message_type)in->type;
  message.server_id = in->peer;
  message.server_address = address;
  struct raft_entry* entries = NULL;
  switch (in->type) {
    case TL_RAFT_APPEND:
      message.append_entries.version = (unsigned char)in->version;
      message.append_entries.term = in->term;
      message.append_entries.prev_log_index = in->prev_index;
      message.append_entries.prev_log_term = in->prev_term;
      message.append_entries.leader_commit = in->commit;
      message.append_entries.n_entries = in->n_entries;
      if (in->n_entries > 0) {
        void* batch = NULL;
        entries = borrow_entries(in->entries, in->n_entries, 0, &batch);
        if (entries == NULL) return RAFT_NOMEM;
        message.append_entries.entries = entries;
      }
      break;
    case TL_RAFT_APPEND_RESULT:
      message.append_entries_result.version = (unsigned char)in->version;
      message.append_entries_result.term = in->term;
      message.append_entries_result.rejected = in->rejected;
      message.append_entries_result.last_log_index = in->last_index;
      message.append_entries_result.features = (unsigned short)in->features;
      message.append_entries_result.capacity = (unsigned short)in->capacity;
      break;
    case TL_RAFT_VOTE:
      message.request_vote.version = (unsigned char)in->version;
      message.request_vote.term = in->term;
      message.request_vote.candidate_id = in->peer;
      message.request_vote.last_log_index = in->last_index;
      message.request_vote.last_log_term = in->last_term;
      message.request_vote.disrupt_leader = in->disrupt_leader;
      message.request_vote.pre_vote = in->pre_vote;
      break;
    case TL_RAFT_VOTE_RESULT:
      message.request_vote_result.version = (unsigned char)in->version;
      message.request_vote_result.term = in->term;
      message.request_vote_result.vote_granted = in->granted;
      message.request_vote_result.pre_vote = in->pre_vote;
      message.request_vote_result.features = (unsigned short)in->features;
      message.request_vote_result.capacity = (unsigned short)in->capacity;
      break;
    case TL_RAFT_INSTALL: {
      message.install_snapshot.version = (unsigned char)in->version;
      message.install_snapshot.term = in->term;
      message.install_snapshot.last_index = in->last_index;
      message.install_snapshot.last_term = in->last_term;
      message.install_snapshot.conf_index = in->configuration_index;
      int rv = decode_configuration(in->configuration, in->configuration_size, &message.install_snapshot.conf);
      if (rv != 0) return rv;
      break;
    }
    case TL_RAFT_TIMEOUT_NOW:
      message.timeout_now.version = (unsigned char)in->version;
      message.timeout_now.term = in->term;
      message.timeout_now.last_log_index = in->last_index;
      message.timeout_now.last_log_term = in->last_term;
      break;
    default: return RAFT_INVALID;
  }
  struct raft_event event;
  new_event(&event, RAFT_RECEIVE);
  event.receive.message = &message;
  int rv = step(r, &event, now_ms, sink);
  free(entries);
  return rv;
}

int tl_raft_submit(tl_raft* r, uint64_t now_ms, const tl_raft_entry* in, unsigned n, const tl_raft_sink* sink) {
  void* batch = NULL;
  struct raft_entry* entries = borrow_entries(in, n, raft_current_term(&r->raft), &batch);
  if (entries == NULL) return RAFT_NOMEM;
  struct raft_event event;
  new_event(&event, RAFT_SUBMIT);
  event.submit.entries = entries;
  event.submit.n = n;
  int rv = step(r, &event, now_ms, sink);
  /* refused before it took the batch */
  if (rv == RAFT_NOTLEADER || rv == RAFT_NOSPACE || rv == RAFT_CANTCHANGE) raft_free(batch);
  free(entries);
  return rv;
}

int tl_raft_tick(tl_raft* r, uint64_t now_ms, const tl_raft_sink* sink) {
  struct raft_event event;
  new_event(&event, RAFT_TIMEOUT);
  return step(r, &event, now_ms, sink);
}

int tl_raft_persisted_entries(tl_raft* r, uint64_t now_ms, uint64_t index, const tl_raft_sink* sink) {
  struct raft_event event;
  new_event(&event, RAFT_PERSISTED_ENTRIES);
  event.persisted_entries.index = index;
  return step(r, &event, now_ms, sink);
}

static int fill_metadata(const tl_raft_snapshot* in, struct raft_snapshot_metadata* out) {
  out->index = in->index;
  out->term = in->term;
  out->configuration_index = in->configuration_index;
  return decode_configuration(in->configuration, in->configuration_size, &out->configuration);
}

int tl_raft_persisted_snapshot(tl_raft* r, uint64_t now_ms, const tl_raft_snapshot* snapshot,
                               const tl_raft_sink* sink) {
  struct raft_event event;
  new_event(&event, RAFT_PERSISTED_SNAPSHOT);
  int rv = fill_metadata(snapshot, &event.persisted_snapshot.metadata);
  if (rv != 0) return rv;
  event.persisted_snapshot.last = true;
  return step(r, &event, now_ms, sink);
}

int tl_raft_snapshot_taken(tl_raft* r, uint64_t now_ms, const tl_raft_snapshot* snapshot, unsigned trailing,
                           const tl_raft_sink* sink) {
  struct raft_event event;
  new_event(&event, RAFT_SNAPSHOT);
  int rv = fill_metadata(snapshot, &event.snapshot.metadata);
  if (rv != 0) return rv;
  event.snapshot.trailing = trailing;
  return step(r, &event, now_ms, sink);
}

int tl_raft_transfer(tl_raft* r, uint64_t now_ms, uint64_t to, const tl_raft_sink* sink) {
  struct raft_event event;
  new_event(&event, RAFT_TRANSFER);
  event.transfer.server_id = to;
  return step(r, &event, now_ms, sink);
}

int tl_raft_configuration(tl_raft* r, uint64_t now_ms, uint64_t index, const void* data, size_t size,
                          const tl_raft_sink* sink) {
  struct raft_event event;
  new_event(&event, RAFT_CONFIGURATION);
  int rv = decode_configuration(data, size, &event.configuration.conf);
  if (rv != 0) return rv;
  event.configuration.index = index;
  return step(r, &event, now_ms, sink);
}

bool tl_raft_is_leader(const tl_raft* r) { return r->raft.state == RAFT_LEADER; }

uint64_t tl_raft_leader(const tl_raft* r) {
  raft_id id = 0;
  const char* address = NULL;
  raft_leader((struct raft*)&r->raft, &id, &address);
  return id;
}

uint64_t tl_raft_term(const tl_raft* r) { return raft_current_term(&r->raft); }
uint64_t tl_raft_commit_index(const tl_raft* r) { return raft_commit_index(&r->raft); }
uint64_t tl_raft_last_index(const tl_raft* r) { return raft_last_index((struct raft*)&r->raft); }
uint64_t tl_raft_last_stored(const tl_raft* r) { return r->raft.last_stored; }
uint64_t tl_raft_timeout_ms(const tl_raft* r) { return raft_timeout(&r->raft); }
uint64_t tl_raft_match_index(const tl_raft* r, uint64_t peer) {
  raft_index index = 0;
  return raft_match_index(&r->raft, peer, &index) == 0 ? index : 0;
}
uint64_t tl_raft_transferee(const tl_raft* r) { return tl_raft_is_leader(r) ? raft_transferee(&r->raft) : 0; }
bool tl_raft_installing(const tl_raft* r) { return r->raft.snapshot.installing; }
const char* tl_raft_strerror(int code) { return raft_strerror(code); }
