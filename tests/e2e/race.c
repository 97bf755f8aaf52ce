// SPDX-License-Identifier: GPL-3.0-or-later
// Race the broker: one thread changes the address, one what the descriptor is, while others
// bind and connect. race SECONDS DEVICE OUTSIDE4 OUTSIDE6 PORT4 PORT6
// Prints how often it tried, and how many sockets were tied elsewhere or connected beyond.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PLACE = 200 }; // the descriptor that is fought over

static struct sockaddr_in6 ours6, theirs6, link_local, shared6;
static struct sockaddr_in ours4, theirs4, shared4;
static atomic_int over, fresh = -1;
static atomic_long binds, connects, untied, reached;

static void *change_address(void *unused) {
    (void)unused;
    while (!over) {
        memcpy(&shared6, &link_local, sizeof shared6);
        memcpy(&shared4, &theirs4, sizeof shared4);
        atomic_thread_fence(memory_order_seq_cst); // or the compiler drops these two
        usleep(1);
        memcpy(&shared6, &ours6, sizeof shared6);
        memcpy(&shared4, &ours4, sizeof shared4);
    }
    return NULL;
}

static void *change_descriptor(void *unused) {
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)unused;
    while (!over) {
        dup2(other, PLACE);
        int now = fresh;
        if (now >= 0)
            dup2(now, PLACE);
    }
    return NULL;
}

static void try_beyond(int one, const void *address, socklen_t size) {
    fcntl(one, F_SETFL, O_NONBLOCK);
    connect(one, address, size);
    for (int i = 0; i < 20; i++) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        if (getpeername(one, (void *)&peer, &length) == 0) {
            send(one, "x", 1, MSG_NOSIGNAL);
            reached++;
            return;
        }
        usleep(500);
    }
}

static void *bind_it(void *unused) {
    (void)unused;
    while (!over) {
        bind(PLACE, (void *)&shared6, sizeof shared6);
        binds++;
    }
    return NULL;
}

static void *connect_it(void *unused) {
    (void)unused;
    while (!over) {
        int one = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (one < 0)
            continue;
        connect(one, (void *)&shared4, sizeof shared4);
        connects++;
        int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (datagram >= 0) {
            sendto(datagram, "x", 1, 0, (void *)&shared4, sizeof shared4);
            close(datagram);
        }
        close(one);
    }
    return NULL;
}

int main(int argc, char **argv) {
    void *(*work[])(void *) = {change_address, change_descriptor, bind_it, bind_it, connect_it};
    pthread_t threads[5];
    struct timespec now, end;
    if (argc != 7)
        return 2;
    link_local.sin6_family = ours6.sin6_family = theirs6.sin6_family = AF_INET6;
    inet_pton(AF_INET6, "::1", &ours6.sin6_addr);
    inet_pton(AF_INET6, "fe80::1234", &link_local.sin6_addr);
    link_local.sin6_scope_id = atoi(argv[2]);
    ours4.sin_family = theirs4.sin_family = AF_INET;
    inet_pton(AF_INET, "127.0.0.1", &ours4.sin_addr);
    inet_pton(AF_INET, argv[3], &theirs4.sin_addr);
    inet_pton(AF_INET6, argv[4], &theirs6.sin6_addr);
    ours4.sin_port = theirs4.sin_port = htons(atoi(argv[5]));
    theirs6.sin6_port = htons(atoi(argv[6]));
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += atoi(argv[1]);
    for (int i = 0; i < 5; i++)
        pthread_create(&threads[i], NULL, work[i], NULL);
    do {
        int device = 0, one = socket(AF_INET6, SOCK_STREAM, 0);
        socklen_t length = sizeof device;
        fresh = one;
        usleep(2000);
        getsockopt(one, SOL_SOCKET, 62, &device, &length); // SO_BINDTOIFINDEX
        untied += device == atoi(argv[2]);
        fresh = -1;
        try_beyond(one, &theirs6, sizeof theirs6);
        close(one);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec < end.tv_sec);
    over = 1;
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    printf("%ld %ld %ld %ld\n", (long)binds, (long)connects, (long)untied, (long)reached);
    return 0;
}
