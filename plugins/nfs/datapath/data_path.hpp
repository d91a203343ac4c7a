// SPDX-License-Identifier: Apache-2.0
// gantry.datapath/1 over NFS version 3: file operations by file handle, many at once over one
// connection, all on the host's event loop. A node's handle is the server's file handle.
//
// An operation is a chain of calls written where it begins: To(call, what then). What all chains
// share is in calls.hpp, what the connection does in connection.hpp.
//
// What NFSv3 leaves open: a file that is removed while it is open is gone (ESTALE afterwards), and
// a change whose answer was lost with both the connection and the server's reply cache ends with
// EIO where it can't be proven to have been ours. (With a sole writer it is proven: its kernel asks for
// no name that is there, and removes none that is not.)
#pragma once

#include <gantry/datapath.h>

#include <cerrno>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

#include "plugins/nfs/datapath/calls.hpp"
#include "plugins/nfs/datapath/connection.hpp"
#include "plugins/nfs/datapath/directory_memory.hpp"
#include "plugins/nfs/datapath/listings.hpp"
#include "plugins/nfs/datapath/locator.hpp"
#include "plugins/nfs/datapath/new_directories.hpp"
#include "plugins/nfs/datapath/options.hpp"
#include "plugins/nfs/datapath/uncommitted.hpp"

namespace gantry::nfs {

inline constexpr int kOpenMsMax = 20'000;
inline constexpr int kCloseMsMax = 2'000;  // For answers to changes that were given up.
// For what is not committed. The host gives a little more where its own caller has the time.
inline constexpr int kCloseUncommittedMsMax = 9'000;
// A smaller write is made stable at once where it is the only one: that costs less than a COMMIT.
inline constexpr uint32_t kLoneWriteBytesMax = 64 * 1024;
inline constexpr size_t kLoneWritesMax = 64;
inline constexpr uint32_t kReadPartBytesMax = 256 * 1024;
inline constexpr uint32_t kUnstablePartBytesMax = 256 * 1024;
inline constexpr size_t kLoggedPartsMax = 64;                 // A write of more is made stable.
inline constexpr uint32_t kTransferBytesDefault = 32 * 1024;  // Where the server names no limit.

// The instance behind the table; the methods are the table's functions. One thread, the loop's.
class NfsDataPath : private ConnectionUser {
 public:
  NfsDataPath(const gantry_datapath_host& host, Log log);
  ~NfsDataPath() override;

  void Open(gantry_op op, const gantry_datapath_open& request);
  void Close(gantry_op op);
  void Interrupt(gantry_op op);
  void Lookup(gantry_op op, const gantry_fs_name& request);
  void Getattr(gantry_op op, const gantry_fs_node& request);
  void Setattr(gantry_op op, const gantry_fs_setattr& request);
  void Readlink(gantry_op op, const gantry_fs_node& request);
  void Create(gantry_op op, const gantry_fs_make& request);
  void Mkdir(gantry_op op, const gantry_fs_make& request);
  void Mknod(gantry_op op, const gantry_fs_make& request);
  void Symlink(gantry_op op, const gantry_fs_make& request);
  void Link(gantry_op op, const gantry_fs_link& request);
  void Unlink(gantry_op op, const gantry_fs_name& request);
  void Rmdir(gantry_op op, const gantry_fs_name& request);
  void Rename(gantry_op op, const gantry_fs_rename& request);
  void Read(gantry_op op, const gantry_fs_read& request);
  void Write(gantry_op op, const gantry_fs_write& request);
  void Commit(gantry_op op, const gantry_fs_commit& request);
  void Readdir(gantry_op op, const gantry_fs_readdir& request);
  void ReaddirPlus(gantry_op op, const gantry_fs_readdir& request);
  void Statfs(gantry_op op, const gantry_fs_node& request);

 private:
  struct ReadJob;
  struct WriteJob;
  enum class Phase : uint8_t {
    kClosed,
    kLocating,
    kConnecting,
    kWalking,
    kAborting,
    kServing,
    kClosing
  };
  // Around everything that enters; the outermost one does what is left to do.
  class Turn;

  // Life (data_path.cpp).
  void OnReply(const Reply& reply) override;
  bool OnRepeat(const Unanswered& call, bool same_port) override;
  void OnNewConnection() override { uncommitted_.OnNewConnection(); }
  void OnTurnEnd() override;
  void OnTime();
  void OnLocated();
  void Settle();
  void ArmTimer();
  void ContinueOpen();
  void ContinueClose();
  void AskSizes();
  void Walk(FileHandle at, size_t depth);
  void AskNameLimit(const FileHandle& root, const Attributes& attributes);
  void FinishOpen(const FileHandle& root, const Attributes& attributes);
  void AbortOpen(int error_number);
  void FinishAbort();
  void FailOpen(const NfsError& error);
  void ForgetLocator();
  void ForgetConnection();

  // Shared by the operations; the first three begin one, the others end it.
  std::shared_ptr<const Credentials> CredentialsOf(const gantry_fs_context& context);
  bool Begin(gantry_op op, const gantry_fs_context& context);
  // False, with the operation ended, when it can't begin or a handle is none.
  template <class... Handles>
  bool BeginWith(gantry_op op, const gantry_fs_context& context, const Handles&... handles) {
    if (!Begin(op, context)) return false;
    if ((handles.has_value() && ...)) return true;
    Fail(op, ESTALE);
    return false;
  }
  void Done(gantry_op op);
  void Fail(gantry_op op, int error_number);
  void Fail(gantry_op op, const NfsError& error);
  // Then at once, or when what was written to the file before is stable.
  void AfterCommit(gantry_op op, const FileHandle& file, Hears hears, std::function<void()> then);
  bool IsEcho(const NfsError& error, bool ambiguous, NfsStatus3 echo) const;
  void FailChange(gantry_op op, const NfsError& error, bool ambiguous, NfsStatus3 echo);
  void DoneAttributes(gantry_op op, const FileHandle& node,
                      const std::optional<Attributes>& attributes);
  void DoneNode(gantry_op op, const FileHandle& node, const std::optional<Attributes>& attributes);
  // Nothing where something was written again since that count of it: they may be of before.
  std::optional<Attributes> SinceRewrite(uint64_t rewrites,
                                         const std::optional<Attributes>& attributes) const {
    return rewrites == uncommitted_.rewrites() ? attributes : std::nullopt;
  }
  void DoneByName(gantry_op op, const FileHandle& directory, std::string_view name);

  // Names (names.cpp).
  void NoteDirectory(const FileHandle& directory, const WeakCacheData& wcc);
  template <class Call>
  // `new_at`: what is made is a directory, empty since then.
  void MakeBy(gantry_op op, const Call& call, std::optional<TimePoint> new_at = {});
  template <class Call>
  void RemoveBy(gantry_op op, const gantry_fs_name& request);
  void CreateUnchecked(gantry_op op, const gantry_fs_make& request, const FileHandle& directory);
  void CreateExclusive(gantry_op op, const gantry_fs_make& request, const FileHandle& directory);
  void FinishExclusive(gantry_op op, const FileHandle& file, uint32_t mode);
  void ProveLink(gantry_op op, const gantry_fs_link& request, const FileHandle& node,
                 const FileHandle& directory);

  // Data (data.cpp).
  void ReadPart(const std::shared_ptr<ReadJob>& job, size_t index);
  void FinishRead(const ReadJob& job);
  void WritePart(const std::shared_ptr<WriteJob>& job, size_t index);
  void FinishWrite(const WriteJob& job);
  bool IsLone(const FileHandle& file, uint32_t length);
  bool KeepsWrites();
  void BeginWrite(const std::shared_ptr<WriteJob>& job);
  void BeginUnlogged(const std::shared_ptr<WriteJob>& job);
  void BeginWaitingWrites();
  void NotePiece(WriteJob& job, size_t index, const WriteReply& reply);
  void DropPart(WriteJob& job, size_t index);

  // Directories (directory.cpp).
  struct ListJob {
    gantry_op op;
    FileHandle directory;
    uint32_t plus_bytes;              // To ask the server for.
    std::optional<uint64_t> skip_to;  // The cookie that is looked for from the beginning.
  };
  void BeginList(gantry_op op, const gantry_fs_readdir& request,
                 std::optional<uint32_t> plus_room_bytes);
  void List(const ListJob& job, uint64_t cookie, const Verifier& verifier);
  void OnListed(ListJob job, Listing listing);
  void OnListFailed(ListJob job, uint64_t cookie, const NfsError& error);
  void EmitListed(gantry_op op, Listing listing);

  const gantry_datapath_host& host_;
  const Log log_;
  Connection connection_;
  Journal journal_;
  Calls calls_;
  Phase phase_ = Phase::kClosed;
  DataPathOptions options_;
  gantry_op open_op_ = 0;
  int open_errno_ = 0;  // With kAborting.
  gantry_op close_op_ = 0;
  TimePoint close_by_ = kNoDeadline;
  bool adopted_ = false;  // The memory says where the volume is.
  FileHandle root_;       // Of the export, while opening.
  std::unique_ptr<Locator> locator_;
  bool locator_watched_ = false;
  int64_t armed_ns_ = INT64_MAX;
  int depth_ = 0;
  bool again_ = false;

  struct Known {
    uint32_t uid = 0, gid = 0;
    std::vector<uint32_t> groups;
    std::shared_ptr<const Credentials> credentials;
  };
  Known known_;  // The last caller's, mostly the next one's too.

  DirectoryMemory directories_;
  NewDirectories new_directories_;
  Listings listings_;
  bool plain_readdir_ = false;  // The server has no READDIRPLUS.
  Uncommitted uncommitted_;
  std::deque<std::shared_ptr<WriteJob>> full_;  // Writes that wait for room in its log.
  std::deque<FileHandle> lone_;                 // Written once since they were committed.
  bool logs_writes_ = true;                     // There is memory for it.
};

class NfsDataPath::Turn {
 public:
  explicit Turn(NfsDataPath& path) : path_(path) { ++path_.depth_; }
  Turn(const Turn&) = delete;
  ~Turn() {
    path_.again_ = true;
    if (path_.depth_ == 1) path_.Settle();
    --path_.depth_;
  }

 private:
  NfsDataPath& path_;
};

}  // namespace gantry::nfs
