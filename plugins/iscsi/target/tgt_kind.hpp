// SPDX-License-Identifier: Apache-2.0
// tgtd. It keeps nothing: after its restart everything is made again from the records.
//
// Access is by initiator name alone: tgtd ORs names and addresses, so an address would let everybody
// behind it in. CHAP accounts belong to the daemon, not to a target, so their names carry the
// volume's handle (protocol.hpp), and read-only is the LUN's, for all of its nodes.
//
// The fence. A dropped connection's commands go on running in tgtd, and a new session of the same
// initiator does not wait for them (measured: a late write landed 3 s later). But a connection with
// running commands is not freed: it stays in the list of connections until the last one is done. So
// after the name is unbound, connections are dropped until the list has none of that initiator. At
// the target's end the LUN is deleted on its own as a second proof: tgtd refuses that as long as a
// command is queued or active on it.
//
// A login checks access when it begins and makes its session when it ends; one that stalls between
// (a partitioned node's) would come to its session after the fence. It asks for the target by its
// number then, so each making of a target takes a new random number, and a stalled login finds none.
// Where the target stays, because other nodes have the volume too, that does not help: a multi-node
// volume's Close leaves this gap. docs: plugins/iscsi/target/README.md.
#pragma once

#include <string>
#include <vector>

#include "plugins/iscsi/target/config.hpp"
#include "plugins/iscsi/target/target_kind.hpp"
#include "plugins/iscsi/target/tgt_protocol.hpp"
#include "plugins/iscsi/target/tgt_show.hpp"

namespace gantry::iscsi::target {

class TgtKind final : public TargetKind {
 public:
  explicit TgtKind(TgtConfig config) : config_(std::move(config)) {}

  const char* name() const override { return "tgt"; }
  bool grow_interrupts() const override { return true; }
  plugin::Status Probe() override;
  plugin::Status Check(const Export& wanted) const override;
  plugin::Status Ensure(const Export& wanted, Deadline deadline) override;
  plugin::Status Remove(const std::string& iqn, Deadline deadline) override;
  plugin::Status Close(const std::string& iqn, const std::string& initiator,
                       const std::string& chap_user, Deadline deadline) override;
  plugin::Status Grow(const Export& wanted, Deadline deadline) override;
  plugin::Result<Difference> Compare(const std::string& iqn_prefix,
                                     const std::vector<Export>& wanted) override;
  std::optional<std::string> Generation() override;

 private:
  plugin::Result<TgtReply> Ask(const TgtRequest& request, Deadline deadline) const;
  // Success, or one of `fine`.
  plugin::Status Do(const TgtRequest& request, const std::string& what, Deadline deadline,
                    std::initializer_list<TgtError> fine = {}) const;
  plugin::Result<std::vector<TgtTarget>> Show(Deadline deadline) const;
  plugin::Result<std::optional<TgtTarget>> Find(const std::string& iqn, Deadline deadline) const;
  plugin::Result<TgtTarget> FindOrMake(const std::string& iqn, Deadline deadline) const;
  plugin::Status EnsureUnit(const TgtTarget& target, const Export& wanted, Deadline deadline) const;
  plugin::Status MakeUnit(int32_t tid, const Export& wanted, Deadline deadline) const;
  plugin::Status SetUnit(int32_t tid, const Export& wanted, Deadline deadline) const;
  plugin::Status EnsureAccount(int32_t tid, const std::string& user, const std::string& password,
                               bool outgoing, Deadline deadline) const;
  plugin::Status DeleteAccount(const std::string& user, Deadline deadline) const;
  plugin::Status RemoveAccount(const TgtTarget& target, const std::string& user,
                               Deadline deadline) const;
  plugin::Status CloseInitiator(int32_t tid, const std::string& initiator, Deadline deadline) const;
  // Of one initiator, or of all when empty; until none is left.
  plugin::Status DropConnections(int32_t tid, const std::string& initiator,
                                 Deadline deadline) const;

  const TgtConfig config_;
};

}  // namespace gantry::iscsi::target
