#include "link/port_bell.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <vector>

namespace gannet::link {
namespace {

Fd make_eventfd() { return Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)); }

bool is_readable(const PortBell& bell) {
  pollfd wait{.fd = bell.fd(), .events = POLLIN, .revents = 0};
  return ::poll(&wait, 1, 0) == 1;
}

TEST(PortBell, IsSilentUntilItIsWatched) {
  PortBell bell(make_eventfd());
  EXPECT_FALSE(bell.claim());
  EXPECT_FALSE(bell.arm());
  EXPECT_TRUE(bell.watch());
  EXPECT_FALSE(bell.watch());
  bell.ring();
  EXPECT_TRUE(is_readable(bell));
}

// The sender is kept from running right before its token, and right after it: in neither place does the receiver find a descriptor that stays
// readable.
TEST(PortBell, ASenderHeldUpAnywhereDoesNotMakeTheReceiverSpin) {
  PortBell bell(make_eventfd());
  bell.watch();
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(bell.claim());
    EXPECT_FALSE(bell.arm()) << "the token is yet to come";
    EXPECT_FALSE(bell.claim()) << "another sender relies on it";
    EXPECT_FALSE(is_readable(bell));
    bell.write();
    EXPECT_TRUE(is_readable(bell));
    EXPECT_TRUE(bell.arm());
    EXPECT_FALSE(is_readable(bell));
    EXPECT_FALSE(bell.arm()) << "armed already";
  }
}

// Two senders, each with one frame, and a receiver, step by step in an order that somebody else chooses.
//   a sender:     put the frame - claim - write, where it claimed
//   the receiver: take a frame; where there is none, arm, and where that armed, look again and ring for what it sees; wait for the descriptor
class Players {
 public:
  static constexpr unsigned count = 3;  // the last is the receiver

  Players() : bell_(make_eventfd()) { bell_.watch(); }

  [[nodiscard]] bool can_step(unsigned who) const {
    if (who == receiver) return step_ != Step::wait || is_readable(bell_);
    return senders_[who] != Step::wait;
  }
  void step(unsigned who) { who == receiver ? receive() : send(senders_[who]); }
  [[nodiscard]] bool has_frame() const { return frames_ != 0; }
  // It was woken, and there was neither a frame nor a token to take.
  [[nodiscard]] bool has_spun() const { return has_spun_; }

 private:
  enum class Step : std::uint8_t { queue, bell, last, wait };
  static constexpr unsigned receiver = count - 1;

  void send(Step& step) {
    if (step == Step::queue) {
      ++frames_;
      step = Step::bell;
    } else if (step == Step::bell) {
      step = bell_.claim() ? Step::last : Step::wait;
    } else {
      bell_.write();
      step = Step::wait;
    }
  }
  void receive() {
    switch (step_) {
      case Step::wait:
        was_woken_ = true;
        step_ = Step::queue;
        return;
      case Step::queue:
        if (frames_ == 0) {
          step_ = Step::bell;
        } else {
          --frames_;
        }
        return;
      case Step::bell: {
        const bool is_armed = bell_.arm();
        has_spun_ |= was_woken_ && !is_armed;
        was_woken_ = false;
        step_ = is_armed ? Step::last : Step::wait;
        return;
      }
      case Step::last:
        if (frames_ != 0) bell_.ring();
        step_ = Step::wait;
    }
  }

  PortBell bell_;
  std::array<Step, receiver> senders_{};
  Step step_{};
  unsigned frames_ = 0;
  bool was_woken_ = false, has_spun_ = false;
};

// In whatever order they step: when nobody can step any more, no frame waits, and no wake-up was in vain.
TEST(PortBell, LosesNoWakeupAndMakesNoneInVainInAnyOrder) {
  struct Choice {
    unsigned taken, possible;
  };
  std::vector<Choice> order;  // which of those that could step did
  unsigned orders = 0;
  do {
    Players players;
    for (std::size_t at = 0; !players.has_spun(); ++at) {
      std::vector<unsigned> able;
      for (unsigned who = 0; who < Players::count; ++who) {
        if (players.can_step(who)) able.push_back(who);
      }
      if (able.empty()) break;
      if (at == order.size()) order.push_back({0, static_cast<unsigned>(able.size())});
      players.step(able[order[at].taken]);
    }
    ASSERT_FALSE(players.has_frame()) << "order " << orders;
    ASSERT_FALSE(players.has_spun()) << "order " << orders;
    ++orders;
    while (!order.empty() && order.back().taken + 1 == order.back().possible) order.pop_back();
    if (!order.empty()) ++order.back().taken;
  } while (!order.empty());
  EXPECT_GT(orders, 1000u);
}

}  // namespace
}  // namespace gannet::link
