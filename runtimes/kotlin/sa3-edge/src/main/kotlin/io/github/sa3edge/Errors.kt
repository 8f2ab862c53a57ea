package io.github.sa3edge

/** What was tried did not work. The message is one line for the person who asked; a command exits with [exitCode]. */
public open class Sa3Exception(message: String, cause: Throwable? = null) : Exception(message, cause) {
    public open val exitCode: Int get() = 1
}

/** What was asked for cannot be done as asked: a value, a name or a combination. */
public open class RequestException(message: String, cause: Throwable? = null) : Sa3Exception(message, cause) {
    override val exitCode: Int get() = 2
}

/** A bundle is incomplete, altered or of another version. */
public class BundleException(message: String, cause: Throwable? = null) : RequestException(message, cause)

/** The engine is missing or could not run a graph. */
public class EngineException(message: String, cause: Throwable? = null) : Sa3Exception(message, cause)

/** A model could not be fetched or stored; what was downloaded is kept for the next try. */
public class DownloadException(message: String, cause: Throwable? = null) : Sa3Exception(message, cause)
