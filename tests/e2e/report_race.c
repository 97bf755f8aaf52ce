// SPDX-License-Identifier: GPL-3.0-or-later
// Race the report's broker: one thread changes the address, one what the descriptor is, while
// others connect and send. report_race SECONDS HOST PORT
// Prints how often it tried, and how many sockets, streams and datagrams, have a peer that is
// not a name server's.
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

static struct sockaddr_in there, server, shared;
static atomic_int over, fresh = -1;
static atomic_long tries, streams, datagrams;

static void *change_address(void *unused) {
    (void)unused;
    while (!over) {
        memcpy(&shared, &there, sizeof shared);
        atomic_thread_fence(memory_order_seq_cst);
        usleep(1);
        memcpy(&shared, &server, sizeof shared);
        atomic_thread_fence(memory_order_seq_cst);
        usleep(1);
    }
    return NULL;
}

static void *change_descriptor(void *unused) {
    int pair[2];
    (void)unused;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    while (!over) {
        dup2(pair[0], PLACE);
        int now = fresh;
        if (now >= 0)
            dup2(now, PLACE);
    }
    return NULL;
}

static void look(int one, int kind) {
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    if (getpeername(one, (void *)&peer, &length) == 0 && peer.sin_family == AF_INET) {
        send(one, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (peer.sin_port != htons(53))
            kind == SOCK_STREAM ? streams++ : datagrams++;
    }
}

static void *try_it(void *kind) {
    while (!over) {
        int one = socket(AF_INET, *(int *)kind, 0);
        if (one < 0)
            continue;
        fcntl(one, F_SETFL, O_NONBLOCK);
        fresh = one;
        connect(PLACE, (void *)&shared, sizeof shared);
        connect(one, (void *)&shared, sizeof shared);
        sendto(PLACE, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT, (void *)&shared, sizeof shared);
        sendto(one, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT, (void *)&shared, sizeof shared);
        look(one, *(int *)kind);
        fresh = -1;
        close(one);
        tries++;
    }
    return NULL;
}

int main(int argc, char **argv) {
    (void)argc;
    int stream = SOCK_STREAM, datagram = SOCK_DGRAM;
    there.sin_family = server.sin_family = AF_INET;
    inet_pton(AF_INET, argv[2], &there.sin_addr);
    there.sin_port = htons(atoi(argv[3]));
    server.sin_addr = there.sin_addr;
    server.sin_port = htons(53);
    pthread_t threads[4];
    pthread_create(&threads[0], NULL, change_address, NULL);
    pthread_create(&threads[1], NULL, change_descriptor, NULL);
    pthread_create(&threads[2], NULL, try_it, &stream);
    pthread_create(&threads[3], NULL, try_it, &datagram);
    sleep(atoi(argv[1]));
    over = 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    printf("%ld %ld %ld\n", tries, streams, datagrams);
    return 0;
}
