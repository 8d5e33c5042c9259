// From the product's types to the plain facts that the oracles are told. Field by field and without judgement: nothing
// is left out because the product would ignore it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "protocol/commands.h"
#include "protocol/messages.h"
#include "protocol/receipt.h"
#include "sim/oracle/facts.h"

namespace tidelock::sim {

oracle::Stamp fact(const Stamp& stamp);
oracle::Entry fact(const Command& command);
// nullopt: bytes that mean nothing.
std::optional<oracle::Entry> entry_of(BytesView command);
// Of the records of a batch, in its order; nullopt: it does not parse.
std::optional<std::vector<oracle::Stamp>> stamps_of(const WriteBatch& batch);
// Value, version and receipt; what the reader asked for and when it looked is the caller's to say.
oracle::Told told_of(std::string where, std::string key, bool found, std::optional<Bytes> value,
                     const Receipt& receipt);

}  // namespace tidelock::sim
