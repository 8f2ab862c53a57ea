package io.github.sa3edge

import java.util.concurrent.CancellationException

/** Says to work that is under way that it is to end; what runs a graph is told at once. */
public class Stop {
    private var action: (() -> Unit)? = null

    @Volatile
    public var isRaised: Boolean = false
        private set

    /** Whether something runs that will be told. */
    internal val isBusy: Boolean get() = synchronized(this) { action != null }

    /** Ends the work. From any thread, any number of times. */
    public fun raise(): Unit = synchronized(this) {
        isRaised = true
        action?.invoke()
    }

    /** Throws CancellationException if the work is to end. */
    public fun check() {
        if (isRaised) throw CancellationException("stopped")
    }

    /** Runs [block]; [stop] is called when it is to end meanwhile, from another thread, and not after the block's end. */
    public fun <T> during(stop: () -> Unit, block: () -> T): T {
        synchronized(this) {
            check()
            action = stop
        }
        try {
            return block()
        } finally {
            synchronized(this) { action = null }
        }
    }
}
