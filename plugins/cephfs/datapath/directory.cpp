// SPDX-License-Identifier: Apache-2.0
// Reading directories.
#include <cephfs/libcephfs.h>
#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <gantry/gantry.hpp>
#include <utility>

#include "plugins/cephfs/datapath/caller.hpp"
#include "plugins/cephfs/datapath/convert.hpp"
#include "plugins/cephfs/datapath/data_path.hpp"

namespace gantry::cephfs {
namespace {

using std::chrono::steady_clock;

// A reply with nodes has room for so much more with each name, which is no longer than that.
constexpr size_t kEntryBytesMax = 160;
constexpr size_t kNameBytesMax = 255;
// Of waiting for the attributes of one answer's entries: who has a file open for writing is asked for its
// size, one after the other. After that the rest goes without, and is asked for by whoever wants it.
constexpr std::chrono::milliseconds kWaitedMsMax{100};

// One entry more. What ceph_readdir_r returns.
int ReadName(ceph_mount_info* mount, ceph_dir_result* stream, uint64_t snapshot, ListedName* name) {
  dirent entry{};
  const int result = ceph_readdir_r(mount, stream, &entry);
  if (result > 0)
    *name = {entry.d_name,
             FileId({entry.d_ino, snapshot}),
             static_cast<uint64_t>(entry.d_off),
             DTTOIF(uint32_t{entry.d_type}),
             nullptr,
             {}};
  return result;
}

// The same with what a lookup would say. libcephfs refers to each inode, those of "." and ".." too. Its
// attributes are not taken: of the first entry of each answer of the MDS they are what that said, which
// does not wait for who is writing the file (Client::readdir_r_cb of 16.2, check_caps). With the
// capabilities that came along the question costs nothing. `waited` grows by what it took.
int ReadNode(Inodes& inodes, ceph_mount_info* mount, ceph_dir_result* stream, const UserPerm* who,
             ListedName* name, steady_clock::duration* waited) {
  dirent entry{};
  struct ceph_statx listed {};
  Inode* inode = nullptr;
  const int result = ceph_readdirplus_r(mount, stream, &entry, &listed, CEPH_STATX_INO, 0, &inode);
  std::shared_ptr<Node> node;
  if (inode != nullptr) node = inodes.Take(inode, HandleOf(listed));
  if (result <= 0) return result;
  *name = {entry.d_name,
           FileId(HandleOf(listed)),
           static_cast<uint64_t>(entry.d_off),
           DTTOIF(uint32_t{entry.d_type}),
           nullptr,
           {}};
  if (!node || name->name == "." || name->name == "..") return result;
  // Whoever asks for the name hears why not.
  struct ceph_statx found {};
  const auto asked_at = steady_clock::now();
  const int answer = ceph_ll_getattr(mount, node->get(), &found, CEPH_STATX_BASIC_STATS, 0, who);
  *waited += steady_clock::now() - asked_at;
  if (answer < 0) return result;
  name->attributes = ToHost(found);
  name->node = std::move(node);
  return result;
}

// Opens the directory where that has to be, and reads on when nothing is at hand. 0 or -errno.
// `room_bytes`: with nodes, as many as are sure to find room; what is left over would be out of date when
// the kernel asks on. 0: without.
int Fill(Inodes& inodes, const std::shared_ptr<Client>& client, Inode* directory,
         const UserPerm* who, uint32_t room_bytes, Listing* listing) {
  if (!listing->names.empty() || listing->eof) return 0;
  ceph_mount_info* const mount = client->get();
  if (!listing->stream) {
    ceph_dir_result* opened = nullptr;
    const int result = ceph_ll_opendir(mount, directory, &opened, who);
    if (result < 0) return result;
    listing->stream = std::make_shared<Stream>(client, opened);
    if (listing->after != 0) ceph_seekdir(mount, opened, static_cast<int64_t>(listing->after));
  }
  ceph_dir_result* const stream = listing->stream->get();
  size_t bytes = 0;
  steady_clock::duration waited{0};
  while (listing->names.size() < kListedMax &&
         (room_bytes == 0 || bytes + kEntryBytesMax + kNameBytesMax <= room_bytes)) {
    ListedName name;
    const bool with_node = room_bytes != 0 && waited < kWaitedMsMax;
    const int result = with_node ? ReadNode(inodes, mount, stream, who, &name, &waited)
                                 : ReadName(mount, stream, listing->directory.snapshot, &name);
    if (result < 0 && listing->names.empty()) return result;
    if (result <= 0) {
      listing->eof = result == 0;
      break;
    }
    bytes += kEntryBytesMax + name.name.size();
    listing->names.push_back(std::move(name));
  }
  return 0;
}

}  // namespace

Stream::~Stream() {
  if (auto* mount = client_->get()) (void)ceph_ll_releasedir(mount, stream_);
}

void CephDataPath::Readdir(gantry_op op, const gantry_fs_readdir& request) { List(op, request, 0); }

void CephDataPath::ReaddirPlus(gantry_op op, const gantry_fs_readdir& request) {
  List(op, request, std::max<uint32_t>(request.room_bytes, kEntryBytesMax + kNameBytesMax));
}

void CephDataPath::List(gantry_op op, const gantry_fs_readdir& request, uint32_t room_bytes) {
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  const auto now = steady_clock::now();
  auto known = request.cookie == 0 ? std::nullopt : listings_.Take(*node, request.cookie, now);
  if (!known) known = Listing{*node, request.cookie, nullptr, {}, false, {}};
  const auto listing = std::make_shared<Listing>(std::move(*known));
  Run(op, Lane::kNames, request.context, {},
      [this, listing, room_bytes](At& at, const Caller& who) {
        const auto inode = at.Find(listing->directory);
        if (!inode) return Fail(inode.error());
        const int result =
            Fill(*at.inodes, at.client, (*inode)->get(), who.get(), room_bytes, listing.get());
        if (result < 0) return Fail(result);
        listing->read_at = steady_clock::now();
        return Finish([this, listing, inodes = at.inodes](gantry_op done) {
          EmitListed(done, *inodes, std::move(*listing));
        });
      });
}

void CephDataPath::EmitListed(gantry_op op, Inodes& inodes, Listing listing) {
  const auto emit = [&](const gantry_fs_entry& entry, ListedName& name) {
    if (!name.node) return host_.entry(host_.ctx, op, &entry) != 0;
    if (host_.entry_plus(host_.ctx, op, &entry, name.node->handle().bytes(), &name.attributes) == 0)
      return false;
    Keep(inodes, std::exchange(name.node, nullptr));
    return true;
  };
  size_t taken = 0;
  for (ListedName& name : listing.names) {
    gantry_fs_entry entry{};
    entry.name = ToStr(name.name);
    entry.fileid = name.fileid;
    entry.cookie = name.cookie;
    entry.type = name.type;
    if (!emit(entry, name)) break;
    listing.after = name.cookie;
    ++taken;
  }
  listing.names.erase(listing.names.begin(), listing.names.begin() + static_cast<ptrdiff_t>(taken));
  for (ListedName& name : listing.names) jobs_.LetGo(std::exchange(name.node, nullptr));
  listings_.Put(std::move(listing));
  Discard(listings_.TakeOld(steady_clock::now()));
  host_.done(host_.ctx, op);
}

// Closing a directory takes libcephfs' lock, so it is done on a thread.
void CephDataPath::Discard(std::vector<Listing> listings) {
  if (!listings.empty()) jobs_.LetGo(std::make_shared<std::vector<Listing>>(std::move(listings)));
}

}  // namespace gantry::cephfs
