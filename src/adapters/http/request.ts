import type { Dispatcher } from 'undici';

export type Answer = Dispatcher.ResponseData;

/**
 * One request over `dispatcher`; method GET unless another is named. As undici's own `request`, which would bring all of the
 * library into our programs: at each of their starts it was a third of what there is to load.
 */
export function request(
  dispatcher: Dispatcher,
  url: URL,
  options: Omit<Dispatcher.RequestOptions, 'origin' | 'path' | 'method'> & {
    readonly method?: Dispatcher.HttpMethod;
  },
): Promise<Answer> {
  const { origin, pathname, search } = url;
  return dispatcher.request({ method: 'GET', ...options, origin, path: `${pathname}${search}` });
}
